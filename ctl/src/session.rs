//! What a command works with: the connection, the kinds, the namespace. Each is made when first asked for.

use tokio::sync::OnceCell;

use crate::cli::Globals;
use crate::discovery::{Kind, Kinds};
use crate::error::Result;
use crate::kubeconfig;
use crate::rest::Rest;

struct Connected {
    rest: Rest,
    namespace: String,
}

/// One run of the program.
pub struct Session {
    globals: Globals,
    connected: OnceCell<Connected>,
    kinds: OnceCell<Kinds>,
}

impl Session {
    /// From the global flags; nothing is read or connected yet.
    pub fn new(globals: Globals) -> Self {
        Session { globals, connected: OnceCell::new(), kinds: OnceCell::new() }
    }

    /// Over a client made elsewhere (a test's).
    pub fn with_client(globals: Globals, client: kube::Client) -> Self {
        let namespace = client.default_namespace().to_owned();
        let connected = Connected { rest: Rest::new(client, String::new()), namespace };
        Session { globals, connected: OnceCell::new_with(Some(connected)), kinds: OnceCell::new() }
    }

    /// The same connection, with nothing known of the server's kinds.
    pub async fn afresh(&self) -> Result<Self> {
        let Connected { rest, namespace } = self.connected().await?;
        let connected = Connected { rest: rest.clone(), namespace: namespace.clone() };
        let globals = self.globals.clone();
        Ok(Session { globals, connected: OnceCell::new_with(Some(connected)), kinds: OnceCell::new() })
    }

    /// The global flags.
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    async fn connected(&self) -> Result<&Connected> {
        self.connected
            .get_or_try_init(|| async {
                let config = kubeconfig::config(&self.globals.overrides()).await?;
                let namespace = config.default_namespace.clone();
                let server = config.cluster_url.to_string();
                Ok(Connected { rest: Rest::new(kube::Client::try_from(config)?, server), namespace })
            })
            .await
    }

    /// The connection.
    pub async fn rest(&self) -> Result<&Rest> {
        Ok(&self.connected().await?.rest)
    }

    /// The namespace of this run: the flag's, or the context's.
    pub async fn namespace(&self) -> Result<&str> {
        match &self.globals.namespace {
            Some(namespace) => Ok(namespace),
            None => Ok(&self.connected().await?.namespace),
        }
    }

    /// The server's kinds.
    pub async fn kinds(&self) -> Result<&Kinds> {
        let rest = self.rest().await?;
        self.kinds.get_or_try_init(|| Kinds::fetch(rest)).await
    }

    /// A kind by any of its names.
    pub async fn kind(&self, typed: &str) -> Result<&Kind> {
        self.kinds().await?.find(typed)
    }
}
