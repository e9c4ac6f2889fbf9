mod batch_object;
mod chain;
mod lease;
mod simulation;
