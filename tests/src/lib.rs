//! What do the integration tests share: a real server, real clients, and scratch folders?
