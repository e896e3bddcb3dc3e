#![no_main]
outrigger_fuzz::target!(http1_response);
