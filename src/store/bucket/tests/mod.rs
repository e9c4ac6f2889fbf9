mod batch_object;
mod chain;
mod cold;
mod damaged_cache;
mod lease;
mod moving;
mod seal;
mod simulation;
