//! Faults on running processes, under load: what users see of each, measured. With
//! `OUTRIGGER_RELIABILITY=DIR` every test leaves its row of docs/reliability.md there.

mod disks;
mod limits;
mod load;
mod network;
mod processes;
mod row;
