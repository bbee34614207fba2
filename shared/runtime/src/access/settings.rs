//! Which tokens are accepted.

use std::path::PathBuf;

use clap::Args;

/// Without a token file and an issuer, every caller has every role.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Settings {
    /// File of access tokens, made with `command-api token`; read again when it changes.
    #[arg(long, env)]
    pub access_tokens: Option<PathBuf>,
    /// URL of an OpenID Connect issuer, as its tokens name it.
    #[arg(long, env)]
    pub oidc_issuer: Option<String>,
    /// Required audience of the issuer's tokens.
    #[arg(long, env, default_value = "sales")]
    pub oidc_audience: String,
    /// Client id of the pages at the issuer: the audience of their session tokens.
    #[arg(long, env)]
    pub oidc_client_id: Option<String>,
    /// Claim with the roles (customer, sales, auditor, operator); dots separate the names of nested
    /// claims, which may contain dots themselves.
    #[arg(long, env, default_value = "roles")]
    pub oidc_roles_claim: String,
    /// Grant every role to every caller even if other machines can reach `LISTEN_ADDRESS`.
    #[arg(long, env)]
    pub open_access: bool,
}
