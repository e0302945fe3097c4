//! What the tests share: servers, clients, waiting.
