//! Integration tests through the real binaries, over real sockets, with real workers.
//!
//! One crate, so that it links once. Each module is named after what a user would say it covers.

#![allow(missing_docs, reason = "test names say what they are about")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

mod abuse;
mod abuse_answers;
mod abuse_queue;
mod abuse_uploads;
mod acme;
mod acme_faults;
mod alpn;
mod answer_limits;
mod answers;
mod apps;
mod backend;
mod balancers;
mod banner;
mod blocked_output;
mod bodies;
mod cert_folder;
mod cert_reasons;
mod cert_verbs;
mod certs;
mod cli;
mod client_certs;
mod completion;
mod control;
mod copyright;
mod duplex;
mod fastcgi;
mod fields_back;
mod fuzz;
mod h2c;
mod half_close;
mod headers;
mod hosts;
mod journal_rights;
mod layers;
mod layouts;
mod links;
mod load;
mod logs;
mod long_requests;
mod path_settings;
mod peer_words;
mod php;
mod ports;
mod probation;
mod production;
mod promotion;
mod python_clients;
mod queue;
mod recycle;
mod redirects;
mod reload;
mod rollout;
mod room;
mod rooms;
mod routes;
mod serve;
mod shells;
mod signals;
mod site;
mod sources;
mod stateful;
mod stop;
mod stray;
mod streams;
mod superseded;
mod support;
mod tickets;
mod turns;
mod unreachable;
mod uploads_h2;
mod words;
