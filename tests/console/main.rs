//! The console, as a browser without a script sees it: pages, forms, cookies. Looked at in a real
//! browser where there is one.

#[path = "../support/mod.rs"]
mod support;

mod axe;
mod browser;
mod comes;
mod filled;
mod fleet;
mod forms;
mod hostile;
mod live;
mod login;
mod operator;
mod orders;
mod pages;
mod scene;
mod tls;
