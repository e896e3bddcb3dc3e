#![no_main]
outrigger_fuzz::target!(detect);
