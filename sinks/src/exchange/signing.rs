//! Signatures of exchange requests (T 4.1.3, 6.2): every part of the convention is configuration.
//!
//! Enters: the parameters of a request. Leaves: the field `sign`, or whether a given one is right. Guarantees: the
//! canonical text is the same on both sides; verification takes the same time for every wrong signature.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use openssl::{
    pkey::{Private, Public},
    rsa::{Padding, Rsa},
};
use sha2::{Digest, Sha256};
use sm2::{
    dsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pke::{DecryptingKey, EncryptingKey, Mode},
};
use sm3::Sm3;

mod keys;
mod settings;

pub use settings::{Algorithm, Encoding, Order, Reduction, Settings, Sm2Layout};

/// The parameters of a request, by name.
pub type Parameters = BTreeMap<String, String>;

/// A convention with its keys: signs, and verifies where the keys allow it.
pub struct Convention {
    settings: Settings,
    secret: Vec<u8>,
    rsa_public: Option<Rsa<Public>>,
    rsa_private: Option<Rsa<Private>>,
    sm2_public: Option<sm2::PublicKey>,
    sm2_private: Option<sm2::SecretKey>,
}

impl std::fmt::Debug for Convention {
    /// Keys and secrets are left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Convention").field("algorithm", &self.settings.algorithm).finish_non_exhaustive()
    }
}

impl Convention {
    /// Reads secret and keys.
    ///
    /// # Errors
    /// What is missing or cannot be read, naming the key of the configuration.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let secret = keys::read_secret(&settings)?;
        let public = keys::read_key("public_key_file", settings.public_key_file.as_ref())?;
        let private = keys::read_key("private_key_file", settings.private_key_file.as_ref())?;
        let mut convention = Convention {
            secret: secret.unwrap_or_default().into_bytes(),
            rsa_public: None,
            rsa_private: None,
            sm2_public: None,
            sm2_private: None,
            settings,
        };
        convention.take_keys(public.as_deref(), private.as_deref())?;
        convention.check()?;
        Ok(convention)
    }

    fn take_keys(&mut self, public: Option<&str>, private: Option<&str>) -> Result<(), String> {
        match self.settings.algorithm {
            Algorithm::Rsa => {
                self.rsa_private = private.map(keys::rsa_private).transpose()?;
                self.rsa_public = public.map(keys::rsa_public).transpose()?;
            }
            Algorithm::Sm2Encrypt | Algorithm::Sm2Sign => {
                self.sm2_private = private.map(keys::sm2_private).transpose()?;
                self.sm2_public = match (public, &self.sm2_private) {
                    (Some(public), _) => Some(keys::sm2_public(public)?),
                    (None, private) => private.as_ref().map(sm2::SecretKey::public_key),
                };
            }
            Algorithm::Digest | Algorithm::HmacSha256 | Algorithm::HmacSm3 => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let settings = &self.settings;
        let needs_secret = matches!(settings.algorithm, Algorithm::HmacSha256 | Algorithm::HmacSm3)
            || settings.suffix.contains("{secret}");
        if needs_secret && self.secret.is_empty() {
            return Err("signing: a secret is needed: give secret_env or secret_file".to_owned());
        }
        if settings.algorithm == Algorithm::Digest && !settings.suffix.contains("{secret}") {
            return Err(
                "signing.suffix: must hold {secret} when the digest alone is the signature".to_owned()
            );
        }
        if settings.digest == Reduction::None
            && !matches!(settings.algorithm, Algorithm::Sm2Sign | Algorithm::HmacSha256 | Algorithm::HmacSm3)
        {
            return Err("signing.digest: this algorithm needs a digest".to_owned());
        }
        let has_key = match settings.algorithm {
            Algorithm::Rsa => self.rsa_public.is_some() || self.rsa_private.is_some(),
            Algorithm::Sm2Encrypt | Algorithm::Sm2Sign => self.sm2_public.is_some(),
            _ => true,
        };
        if has_key {
            Ok(())
        } else {
            Err("signing: public_key_file or private_key_file is needed".to_owned())
        }
    }

    /// The text that is signed.
    #[must_use]
    pub fn canonical(&self, parameters: &Parameters) -> String {
        let settings = &self.settings;
        let mut names: Vec<&String> = settings.fields.iter().collect();
        if settings.order == Order::Sorted {
            names.sort();
        }
        let mut parts = Vec::new();
        for name in names {
            let Some(value) = parameters.get(name) else { continue };
            if value.is_empty() && !settings.empties {
                continue;
            }
            let value = if settings.percent_encode { percent_encode(value) } else { value.clone() };
            parts.push(if settings.names { format!("{name}{}{value}", settings.pair) } else { value });
        }
        let secret = String::from_utf8_lossy(&self.secret);
        parts.join(&settings.separator) + &settings.suffix.replace("{secret}", &secret)
    }

    /// Signs a request.
    ///
    /// # Errors
    /// When a key for signing is missing or the operation fails.
    pub fn sign(&self, parameters: &Parameters) -> Result<String, String> {
        let digest = self.digest(parameters);
        let signature = match self.settings.algorithm {
            Algorithm::Digest => digest,
            Algorithm::HmacSha256 => hmac_sha256(&self.secret, &digest),
            Algorithm::HmacSm3 => hmac_sm3(&self.secret, &digest),
            Algorithm::Rsa => {
                let key = self.rsa_public.as_ref().ok_or("signing: public_key_file is needed to sign")?;
                let mut encrypted = vec![0; key.size() as usize];
                let length = key
                    .public_encrypt(&digest, &mut encrypted, Padding::PKCS1)
                    .map_err(|e| format!("signing: rsa: {e}"))?;
                encrypted.truncate(length);
                encrypted
            }
            Algorithm::Sm2Encrypt => {
                let key = self.sm2_public.ok_or("signing: public_key_file is needed to sign")?;
                EncryptingKey::new_with_mode(key, self.mode())
                    .encrypt(&mut getrandom::SysRng, &digest)
                    .map_err(|e| format!("signing: sm2: {e}"))?
            }
            Algorithm::Sm2Sign => {
                let key = self.sm2_private.as_ref().ok_or("signing: private_key_file is needed to sign")?;
                let key = SigningKey::new(&self.settings.sm2_identity, key)
                    .map_err(|e| format!("signing: sm2: {e}"))?;
                key.sign(&digest).to_bytes().to_vec()
            }
        };
        Ok(match self.settings.encoding {
            Encoding::Hex => hex::encode(signature),
            Encoding::HexUpper => hex::encode_upper(signature),
            Encoding::Base64 => STANDARD.encode(signature),
        })
    }

    /// Whether a signature belongs to a request.
    ///
    /// # Errors
    /// When a key for verifying is missing: that is the verifier's fault, not the sender's.
    pub fn verify(&self, parameters: &Parameters, sign: &str) -> Result<bool, String> {
        let given = match self.settings.encoding {
            Encoding::Hex | Encoding::HexUpper => hex::decode(sign).ok(),
            Encoding::Base64 => STANDARD.decode(sign).ok(),
        };
        let Some(given) = given else { return Ok(false) };
        let digest = self.digest(parameters);
        Ok(match self.settings.algorithm {
            Algorithm::Digest => equal(&given, &digest),
            Algorithm::HmacSha256 => equal(&given, &hmac_sha256(&self.secret, &digest)),
            Algorithm::HmacSm3 => equal(&given, &hmac_sm3(&self.secret, &digest)),
            Algorithm::Rsa => {
                let key = self.rsa_private.as_ref().ok_or("signing: private_key_file is needed to verify")?;
                let mut decrypted = vec![0; key.size() as usize];
                match key.private_decrypt(&given, &mut decrypted, Padding::PKCS1) {
                    Ok(length) => equal(&decrypted[..length], &digest),
                    Err(_) => false,
                }
            }
            Algorithm::Sm2Encrypt => {
                let key = self.sm2_private.as_ref().ok_or("signing: private_key_file is needed to verify")?;
                DecryptingKey::new_with_mode(key.to_nonzero_scalar(), self.mode())
                    .decrypt(&given)
                    .is_ok_and(|decrypted| equal(&decrypted, &digest))
            }
            Algorithm::Sm2Sign => {
                let key = self.sm2_public.ok_or("signing: public_key_file is needed to verify")?;
                let key = VerifyingKey::new(&self.settings.sm2_identity, key)
                    .map_err(|e| format!("signing: sm2: {e}"))?;
                Signature::try_from(given.as_slice())
                    .is_ok_and(|signature| key.verify(&digest, &signature).is_ok())
            }
        })
    }

    fn mode(&self) -> Mode {
        match self.settings.sm2_layout {
            Sm2Layout::C1c3c2 => Mode::C1C3C2,
            Sm2Layout::C1c2c3 => Mode::C1C2C3,
        }
    }

    fn digest(&self, parameters: &Parameters) -> Vec<u8> {
        let text = self.canonical(parameters);
        // HMAC and SM2 signatures hash by themselves; for the others the text is reduced first.
        let digest = match (self.settings.algorithm, self.settings.digest) {
            (Algorithm::HmacSha256 | Algorithm::HmacSm3 | Algorithm::Sm2Sign, _) | (_, Reduction::None) => {
                return text.into_bytes();
            }
            (_, Reduction::Md5) => Md5::digest(text).to_vec(),
            (_, Reduction::Sha256) => Sha256::digest(text).to_vec(),
            (_, Reduction::Sm3) => Sm3::digest(text).to_vec(),
        };
        if self.settings.digest_as_text { hex::encode(digest).into_bytes() } else { digest }
    }
}

fn hmac_sha256(secret: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so this never fails.
    Hmac::<Sha256>::new_from_slice(secret).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn hmac_sm3(secret: &[u8], text: &[u8]) -> Vec<u8> {
    // As above.
    Hmac::<Sm3>::new_from_slice(secret).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        },
    )
}

fn equal(one: &[u8], other: &[u8]) -> bool {
    !other.is_empty() && one.len() == other.len() && openssl::memcmp::eq(one, other)
}

/// As in `application/x-www-form-urlencoded` of RFC 3986: everything but letters, digits and `-_.~`.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
