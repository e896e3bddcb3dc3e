#![no_main]
outrigger_fuzz::target!(first_packet);
