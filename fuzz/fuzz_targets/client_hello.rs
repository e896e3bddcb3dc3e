#![no_main]
outrigger_fuzz::target!(client_hello);
