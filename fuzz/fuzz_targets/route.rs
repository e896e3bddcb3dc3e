#![no_main]
outrigger_fuzz::target!(route);
