#![no_main]
outrigger_fuzz::target!(http2);
