//! Log-ins: every plugin, with TLS on either leg, both or none; each session lives over restarts.

#[path = "../support/mod.rs"]
mod support;

<<<<<<< HEAD
mod impersonation;
=======
mod checks;
mod first;
>>>>>>> ffaf8e6 (login: greet clients with a server's own challenge)
mod malformed;
mod matrix;
mod refusals;
