#![no_main]
outrigger_fuzz::target!(control_stream);
