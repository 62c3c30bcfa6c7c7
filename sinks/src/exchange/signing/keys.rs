//! Reads the secret and the keys of a convention.
//!
//! Enters: paths and texts: PEM, base64 of DER (RSA), hexadecimal (SM2). Leaves: keys. Errors name the configuration's
//! key.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    pkey::{PKey, Private, Public},
    rsa::Rsa,
};
use sm2::pkcs8::{DecodePrivateKey, DecodePublicKey};

use super::Settings;

pub(super) fn read_secret(settings: &Settings) -> Result<Option<String>, String> {
    if let Some(path) = &settings.secret_file {
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("signing.secret_file {}: {e}", path.display()))?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if let Some(name) = &settings.secret_env {
        return std::env::var(name).map(Some).map_err(|e| format!("signing.secret_env {name}: {e}"));
    }
    Ok(settings.secret.clone())
}

pub(super) fn read_key(key: &str, path: Option<&PathBuf>) -> Result<Option<String>, String> {
    path.map(|path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|e| format!("signing.{key} {}: {e}", path.display()))
    })
    .transpose()
}

fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN")
}

fn base64_lines(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).map_err(|e| format!("signing: the key is neither PEM nor base64: {e}"))
}

pub(super) fn rsa_public(text: &str) -> Result<Rsa<Public>, String> {
    let key = if is_pem(text) {
        PKey::public_key_from_pem(text.as_bytes())
    } else {
        PKey::public_key_from_der(&base64_lines(text)?)
    };
    key.and_then(|key| key.rsa()).map_err(|e| format!("signing.public_key_file: {e}"))
}

pub(super) fn rsa_private(text: &str) -> Result<Rsa<Private>, String> {
    let key = if is_pem(text) {
        PKey::private_key_from_pem(text.as_bytes())
    } else {
        PKey::private_key_from_der(&base64_lines(text)?)
    };
    key.and_then(|key| key.rsa()).map_err(|e| format!("signing.private_key_file: {e}"))
}

pub(super) fn sm2_public(text: &str) -> Result<sm2::PublicKey, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("signing.public_key_file: not an SM2 key: {e}");
    if is_pem(text) {
        return sm2::PublicKey::from_public_key_pem(text.trim()).map_err(|e| wrong(&e));
    }
    let mut bytes = hex::decode(text.trim()).map_err(|e| wrong(&e))?;
    if bytes.len() == 64 {
        bytes.insert(0, 4); // Often written without the mark of an uncompressed point.
    }
    sm2::PublicKey::from_sec1_bytes(&bytes).map_err(|e| wrong(&e))
}

pub(super) fn sm2_private(text: &str) -> Result<sm2::SecretKey, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("signing.private_key_file: not an SM2 key: {e}");
    if is_pem(text) {
        return sm2::SecretKey::from_pkcs8_pem(text.trim()).map_err(|e| wrong(&e));
    }
    let bytes = hex::decode(text.trim()).map_err(|e| wrong(&e))?;
    sm2::SecretKey::from_slice(&bytes).map_err(|e| wrong(&e))
}
