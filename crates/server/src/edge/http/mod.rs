//! The operator API under `/api/v1`.

mod accounts;
mod actions;
mod artifacts;
mod audit;
mod auth;
mod body;
mod channels;
mod commands;
mod configurations;
mod create;
mod devices;
mod etag;
mod events;
mod join_tokens;
mod page;
pub(in crate::edge) mod problem;
mod projects;
mod releases;
mod remote_sessions;
mod rollouts;
pub mod routes;
mod session;
mod show;
mod show_twin;
mod spec;
mod tokens;
mod uploads;
