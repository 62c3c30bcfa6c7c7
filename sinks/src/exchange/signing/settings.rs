//! The convention of signatures as it is configured.
//!
//! Enters: the section `[exchange.signing]`. Leaves: what is signed, in which order, how, and with which keys.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In which order the parameters stand in the canonical text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By name, in ASCII order.
    #[default]
    Sorted,
    /// As listed in `fields`.
    Listed,
}

/// What the canonical text is reduced to before it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The text itself.
    None,
    /// MD5.
    Md5,
    /// SHA-256.
    #[default]
    Sha256,
    /// SM3 (GM/T 0004).
    Sm3,
}

/// How the signature is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The digest alone, over a text that holds the secret.
    Digest,
    /// The digest encrypted with the receiver's public RSA key (PKCS #1 v1.5).
    Rsa,
    /// The digest encrypted with the receiver's public SM2 key (GM/T 0003.4).
    Sm2Encrypt,
    /// A signature with the sender's private SM2 key (GM/T 0003.2, with SM3).
    Sm2Sign,
    /// HMAC with SHA-256 and the secret.
    #[default]
    HmacSha256,
    /// HMAC with SM3 and the secret.
    HmacSm3,
}

/// How bytes become text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal, small letters.
    #[default]
    Hex,
    /// Hexadecimal, capital letters.
    HexUpper,
    /// Base64 with padding.
    Base64,
}

/// The order of the parts of an SM2 ciphertext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sm2Layout {
    /// Point, digest, text: the current standard.
    #[default]
    C1c3c2,
    /// Point, text, digest: the former one.
    C1c2c3,
}

/// The `[exchange.signing]` section: the convention agreed with the receiver.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The parameters that are signed; those a request does not have are passed over.
    pub fields: Vec<String>,
    /// Their order.
    pub order: Order,
    /// What stands between name and value; names are left out when `names` is false.
    pub pair: String,
    /// What stands between parameters.
    pub separator: String,
    /// Whether names are part of the text.
    pub names: bool,
    /// Whether values are percent-encoded in the text.
    pub percent_encode: bool,
    /// Whether parameters without a value are part of the text.
    pub empties: bool,
    /// Appended to the text; `{secret}` stands for the secret, as in `&key={secret}`.
    pub suffix: String,
    /// What the text is reduced to.
    pub digest: Reduction,
    /// Whether what is encrypted or signed is the digest as hexadecimal text instead of its bytes.
    pub digest_as_text: bool,
    /// How the signature is made.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// Order of the parts of an SM2 ciphertext.
    pub sm2_layout: Sm2Layout,
    /// Identity of the signer of an SM2 signature.
    pub sm2_identity: String,
    /// The secret. Prefer `secret_file` or `secret_env`.
    pub secret: Option<String>,
    /// File that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// Environment variable that holds the secret.
    pub secret_env: Option<String>,
    /// File with the public key: PEM, base64 of DER (RSA) or hexadecimal (SM2).
    pub public_key_file: Option<PathBuf>,
    /// File with the private key: PEM, base64 of DER (RSA) or hexadecimal (SM2).
    pub private_key_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let fields = ["group", "table", "data", "where", "appID", "timestamp", "version"];
        Settings {
            fields: fields.map(str::to_owned).into(),
            order: Order::default(),
            pair: "=".to_owned(),
            separator: "&".to_owned(),
            names: true,
            percent_encode: false,
            empties: false,
            suffix: String::new(),
            digest: Reduction::default(),
            digest_as_text: false,
            algorithm: Algorithm::default(),
            encoding: Encoding::default(),
            sm2_layout: Sm2Layout::default(),
            sm2_identity: "1234567812345678".to_owned(),
            secret: None,
            secret_file: None,
            secret_env: None,
            public_key_file: None,
            private_key_file: None,
        }
    }
}
