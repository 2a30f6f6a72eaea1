//! The rollout engine in a world of its own: every run of it, and the stories people read.

mod access;
mod field;
mod properties;
mod referee;
mod story;
mod work;
mod world;
