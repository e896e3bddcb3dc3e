mod addresses;
mod endpoints;
mod services;
mod workloads;
mod world;
