//! Token issuers that others run: where their metadata and keys are, what is taken over of them, and for how long it holds.

mod address;
mod credentials;
mod declared;
mod metadata;
mod record;
mod refresh;
mod url;

pub use address::is_public;
pub use credentials::{CredentialsFacts, CredentialsFault, Fingerprint, credentials_for, delivered};
pub use declared::{DeclaredIssuer, declared_issuers};
pub use metadata::{Metadata, MetadataFault, metadata_urls, parse_metadata};
pub use record::{RECORD_SUFFIX, record_data, recorded_issuers};
pub use refresh::{LONGEST_FRESHNESS, SHORTEST_FRESHNESS, freshness};
pub use url::{HttpsUrl, UrlFault};
