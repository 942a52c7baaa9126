mod forgeries;
mod graph;
mod mutations;
mod texts;
mod wire;
