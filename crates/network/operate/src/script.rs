//! A coordinator that is a script, for tests of the calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use wire::v1::operator_server::{Operator, OperatorServer};
use wire::v1::{RunStatus, StatusRequest, WatchRequest};

use crate::connect::{Bearer, Link, connect};
use crate::patient::Patient;

type Statuses = Vec<Result<RunStatus, Status>>;

/// Its answers, each given once, and what it was asked for.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) to_status: Arc<Mutex<VecDeque<Result<RunStatus, Status>>>>,
    pub(crate) to_watch: Arc<Mutex<VecDeque<Result<Statuses, Status>>>>,
    pub(crate) runs_asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Script {
    /// A connection to it.
    pub(crate) async fn link(&self) -> Link {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", incoming.local_addr().unwrap());
        let server = Server::builder().add_service(OperatorServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        Link::new(Patient::over(connect(&url).await.unwrap()), Bearer::NONE)
    }
}

#[tonic::async_trait]
impl Operator for Script {
    type WatchStream = tonic::codegen::tokio_stream::Iter<std::vec::IntoIter<Result<RunStatus, Status>>>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<RunStatus>, Status> {
        self.runs_asked.lock().unwrap().push(request.into_inner().run);
        self.to_status.lock().unwrap().pop_front().expect("no more calls").map(Response::new)
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.runs_asked.lock().unwrap().push(request.into_inner().run);
        let statuses = self.to_watch.lock().unwrap().pop_front().expect("no more calls")?;
        Ok(Response::new(tonic::codegen::tokio_stream::iter(statuses)))
    }
}
