mod addresses;
mod attachment;
mod endpoints;
mod policies;
mod rules;
mod services;
mod workloads;
mod world;
