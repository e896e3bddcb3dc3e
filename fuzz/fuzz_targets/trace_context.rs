#![no_main]
outrigger_fuzz::target!(trace_context);
