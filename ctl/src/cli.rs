//! The command line: global flags, and one variant per command. Each command's flags stand beside its code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::command;
use crate::kubeconfig::Overrides;

/// ctl talks to a Skiff or Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "ctl", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Path to the kubeconfig file to use
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context to use
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig cluster to use
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The kubeconfig user to use
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// The namespace of this request
    #[arg(long, short = 'n', global = true)]
    pub namespace: Option<String>,
    /// Address and port of the API server
    #[arg(long, short = 's', global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for the API server
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Do not check the server's certificate
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// User to act as
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to act as; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub impersonate_groups: Vec<String>,
    /// Say more on stderr about what is done
    #[arg(
        long,
        short = 'v',
        global = true,
        default_value_t = 0,
        hide_default_value = true,
        value_name = "LEVEL"
    )]
    pub verbosity: u8,
}

impl Cli {
    /// The global flags, without those whose name means something else to the command.
    pub fn globals(&self) -> Globals {
        let mut globals = self.globals.clone();
        if let Command::Create(create) = &self.command
            && create.names_users()
        {
            globals.user = None;
        }
        globals
    }
}

impl Globals {
    /// What these flags say about the connection.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            file: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            server: self.server.clone(),
            token: self.token.clone(),
            insecure: self.insecure_skip_tls_verify,
            impersonate: self.impersonate.clone(),
            impersonate_groups: self.impersonate_groups.clone(),
        }
    }
}

/// How far a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DryRun {
    /// It is made.
    #[default]
    None,
    /// It is only shown.
    Client,
    /// The server checks it and does not store it.
    Server,
}

impl DryRun {
    /// What messages end with.
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }

    /// The value of the `dryRun` query parameter.
    pub fn query(self) -> Option<&'static str> {
        (self == DryRun::Server).then_some("All")
    }
}

/// `--dry-run`, for commands that change things.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DryRunArgs {
    /// Only show what would be done (client), or let the server check it (server)
    #[arg(long, value_enum, default_value = "none", default_missing_value = "client", num_args = 0..=1, require_equals = true)]
    pub dry_run: DryRun,
}

macro_rules! commands {
    ($($(#[$meta:meta])* $variant:ident($module:ident)),* $(,)?) => {
        /// What to do.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($(#[$meta])* $variant(command::$module::Args),)*
        }

        impl Command {
            /// Does it.
            pub async fn run(self, session: &crate::session::Session) -> crate::error::Result<()> {
                match self {
                    $(Command::$variant(args) => Box::pin(command::$module::run(args, session)).await,)*
                }
            }
        }
    };
}

commands! {
    /// Make the cluster match manifests
    Apply(apply),
    /// Create objects from a file or from flags
    Create(create),
    /// Show objects
    Get(get),
    /// Show an object in detail, with its events
    Describe(describe),
    /// Delete objects
    Delete(delete),
    /// Run an image in the cluster
    Run(run),
    /// Set the number of replicas
    Scale(scale),
    /// Make a Service for a workload
    Expose(expose),
    /// Follow, pause, restart or undo a rollout
    Rollout(rollout),
    /// Print the logs of a container
    Logs(logs),
    /// Run a command in a container
    Exec(exec),
    /// Attach to a running container
    Attach(attach),
    /// Forward local ports to a pod
    PortForward(port_forward),
    /// Mark a node unschedulable
    Cordon(cordon),
    /// Mark a node schedulable
    Uncordon(uncordon),
    /// Move the pods off a node
    Drain(drain),
    /// Change labels
    Label(label),
    /// Change annotations
    Annotate(annotate),
    /// Wait for a condition
    Wait(wait),
    /// Change fields of an object
    Patch(patch),
    /// Set parts of a workload
    Set(set),
    /// Show and change the kubeconfig
    Config(config),
    /// Show the versions of ctl and the server
    Version(version),
    /// List the kinds the server knows
    ApiResources(api_resources),
    /// List the API versions the server knows
    ApiVersions(api_versions),
    /// Ask what one may do
    Auth(auth),
    /// Show where the cluster is
    ClusterInfo(cluster_info),
    /// Describe the fields of a kind
    Explain(explain),
    /// Print a shell's completion script
    Completion(completion),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bindings_users_are_not_the_connections() {
        let parse = |words: &str| Cli::try_parse_from(words.split(' ')).expect("valid").globals().user;
        assert_eq!(parse("ctl create clusterrolebinding x --clusterrole=y --user=jane --user=joe"), None);
        assert_eq!(parse("ctl get pods --user=jane").as_deref(), Some("jane"));
    }
}
