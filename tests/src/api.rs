//! Bare requests to the API server, as the administrator: what no client makes better or hides.

use std::path::PathBuf;
use std::process::Command;

use crate::{Cluster, try_output};

/// Makes requests; may be used by several threads at once.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    pki: PathBuf,
}

impl Api {
    /// The body of the answer; that of a refusal, or why there was no answer, as an error.
    pub fn get(&self, path: &str) -> Result<String, String> {
        try_output(&mut self.curl(path))
    }

    /// As [`Api::get`], with a body in JSON.
    pub fn post(&self, path: &str, body: &str) -> Result<String, String> {
        let mut command = self.curl(path);
        command.args(["-H", "Content-Type: application/json", "--data-binary", body]);
        try_output(&mut command)
    }

    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "20", "--fail-with-body", "--cacert"]);
        command.arg(self.pki.join("ca.crt")).arg("--cert").arg(self.pki.join("admin.crt"));
        command.arg("--key").arg(self.pki.join("admin.key")).arg(format!("{}{path}", self.url));
        command
    }
}

impl Cluster {
    /// The way to this cluster's API server.
    pub fn api(&self) -> Api {
        Api { url: format!("https://{}", self.listen()), pki: self.dir().join("pki") }
    }
}
