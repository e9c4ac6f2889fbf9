mod batch_object;
mod chain;
mod lease;
mod seal;
mod simulation;
