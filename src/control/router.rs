//! Owns which endpoint a request is for: method and path in, the handler and its input out.
//!
//! Never here: which endpoints there are (`api/endpoints`), or what a handler does (`calls`).

use std::pin::Pin;
use std::sync::Arc;

use http::{Method, StatusCode};

use crate::api::endpoint::{Endpoint, Input, InputError, RequestParts, params_of, shown};

use super::Control;
use super::reply::{CallError, CallReply, EndpointAnswer};

/// The endpoints with their handlers.
#[derive(Default)]
pub(super) struct Router {
    routes: Vec<EndpointRoute>,
}

/// An endpoint with its handler.
pub(super) struct EndpointRoute {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Whether the request's body has to be read first.
    pub(super) has_body: bool,
    read: ReadInput,
}

type ReadInput = Box<dyn Fn(&mut RequestParts) -> Result<ReadCall, CallError> + Send + Sync>;
/// A request that was read and is to be answered.
pub(super) type ReadCall = Box<dyn FnOnce(Arc<Control>) -> Answering + Send>;
type Answering = Pin<Box<dyn Future<Output = Result<CallReply, CallError>> + Send>>;

impl Router {
    /// Adds an endpoint. Dropping the handler's future must leave nothing half done.
    pub(super) fn on<I, A, F, Fut>(mut self, endpoint: &Endpoint<I, A>, handler: F) -> Self
    where
        I: Input + Send + 'static,
        A: EndpointAnswer + 'static,
        F: Fn(Arc<Control>, I) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<A::Value, CallError>> + Send + 'static,
    {
        let read: ReadInput = Box::new(move |parts: &mut RequestParts| -> Result<ReadCall, CallError> {
            let (input, handler) = (I::read(parts)?, handler.clone());
            Ok(Box::new(move |control: Arc<Control>| -> Answering {
                let stop = control.stop.clone();
                Box::pin(async move { Ok(A::into_reply(handler(control, input).await?, stop)) })
            }))
        });
        let Endpoint { method, path, .. } = *endpoint;
        self.routes.push(EndpointRoute { method, path, has_body: I::HAS_BODY, read });
        self
    }

    /// Finds the endpoint, and the parameters in its path.
    ///
    /// # Errors
    /// An error that shows what was read and names what would be right.
    pub(super) fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<(&EndpointRoute, RequestParts), CallError> {
        let here = self.routes.iter().filter_map(|route| Some((route, params_of(route.path, path)?)));
        let mut methods = Vec::new();
        for (route, params) in here {
            if route.method == method.as_str() {
                return Ok((route, RequestParts { params, ..RequestParts::default() }));
            }
            methods.push(route.method);
        }
        Err(if !methods.is_empty() {
            CallError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "wrong-method",
                format!("`{path}` takes no {method}"),
            )
            .allow(methods.join(", "))
        } else if path == JOIN {
            CallError::new(StatusCode::GONE, "gone", NO_JOINING)
                .hint("`POST /workers/scale` changes how many there are")
        } else {
            CallError::new(StatusCode::NOT_FOUND, "no-such-path", format!("there is no `{path}`"))
                .hint(self.paths())
        })
    }

    fn paths(&self) -> String {
        let mut paths: Vec<String> = self.routes.iter().map(|route| shown(route.path)).collect();
        paths.dedup();
        format!("paths: {}", paths.join(" "))
    }

    #[cfg(test)]
    pub(super) fn routes(&self) -> &[EndpointRoute] {
        &self.routes
    }
}

impl EndpointRoute {
    /// Whether the endpoint changes what the server does.
    pub(super) fn changes(&self) -> bool {
        self.method != "GET"
    }

    /// Reads the input of a request.
    ///
    /// # Errors
    /// An error that shows what was read and says what would be right.
    pub(super) fn read(&self, parts: &mut RequestParts) -> Result<ReadCall, CallError> {
        (self.read)(parts)
    }
}

impl From<InputError> for CallError {
    fn from(error: InputError) -> Self {
        let InputError { message, hint } = error;
        let refused = Self::new(StatusCode::BAD_REQUEST, "bad-request", message);
        match hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }
}

/// The path by which workers joined by themselves in the first version.
const JOIN: &str = "/worker";
const NO_JOINING: &str =
    "workers no longer join by themselves: the manager starts them and hands them their socket";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::endpoints;
    use crate::control::calls;

    #[test]
    fn every_endpoint_of_the_table_has_a_handler() {
        let router = calls::router();
        let served: Vec<_> = router.routes().iter().map(|route| (route.method, route.path)).collect();
        let table: Vec<_> = endpoints::TABLE.iter().map(|row| (row.method, row.path)).collect();
        assert_eq!(served, table);
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_what_was_read() {
        for (method, path, status, code, message) in [
            ("GET", "/", 404, "no-such-path", "there is no `/`"),
            ("GET", "/registry/", 405, "wrong-method", "`/registry/` takes no GET"),
            ("GET", "/status/", 404, "no-such-path", "there is no `/status/`"),
            ("GET", "//status", 404, "no-such-path", "there is no `//status`"),
            ("PUT", "/registry", 405, "wrong-method", "`/registry` takes no PUT"),
            ("POST", "/status", 405, "wrong-method", "`/status` takes no POST"),
            ("GET", "/stop", 405, "wrong-method", "`/stop` takes no GET"),
        ] {
            let router = calls::router();
            let error = router.find(&method.parse().unwrap(), path).err().unwrap();
            let text = error.failure().error;
            let got = error.into_reply().status().as_u16();
            assert_eq!(
                (got, text.code.as_str(), text.message.as_str()),
                (status, code, message),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn only_calls_that_change_something_say_so() {
        for (method, path, changes) in [
            (Method::GET, "/registry", false),
            (Method::GET, "/logs", false),
            (Method::POST, "/registry", true),
            (Method::DELETE, "/registry/a.example", true),
            (Method::POST, "/deploy", true),
            (Method::POST, "/stop", true),
        ] {
            assert_eq!(calls::router().find(&method, path).unwrap().0.changes(), changes, "{method} {path}");
        }
    }
}
