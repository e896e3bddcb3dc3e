#![no_main]
outrigger_fuzz::target!(access_log);
