//! Signatures of exchange requests (T 4.1.3, 6.2): every part of the convention is configuration.
//!
//! Enters: the parameters of a request. Leaves: the field `sign`, or whether a given one is right. Guarantees: the
//! canonical text is the same on both sides; verification takes the same time for every wrong signature.

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use openssl::{
    pkey::{PKey, Private, Public},
    rsa::{Padding, Rsa},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sm2::{
    dsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::{DecodePrivateKey, DecodePublicKey},
    pke::{DecryptingKey, EncryptingKey, Mode},
};
use sm3::Sm3;

/// In which order the parameters stand in the canonical text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By name, in ASCII order.
    #[default]
    Sorted,
    /// As listed in `fields`.
    Listed,
}

/// What the canonical text is reduced to before it is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sm2Layout {
    /// Point, digest, text: the current standard.
    #[default]
    C1c3c2,
    /// Point, text, digest: the former one.
    C1c2c3,
}

/// The `[exchange.signing]` section: the convention agreed with the receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
        let secret = read_secret(&settings)?;
        let public = read_key("public_key_file", settings.public_key_file.as_ref())?;
        let private = read_key("private_key_file", settings.private_key_file.as_ref())?;
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
                self.rsa_private = private.map(rsa_private).transpose()?;
                self.rsa_public = public.map(rsa_public).transpose()?;
            }
            Algorithm::Sm2Encrypt | Algorithm::Sm2Sign => {
                self.sm2_private = private.map(sm2_private).transpose()?;
                self.sm2_public = match (public, &self.sm2_private) {
                    (Some(public), _) => Some(sm2_public(public)?),
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

fn read_secret(settings: &Settings) -> Result<Option<String>, String> {
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

fn read_key(key: &str, path: Option<&PathBuf>) -> Result<Option<String>, String> {
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

fn rsa_public(text: &str) -> Result<Rsa<Public>, String> {
    let key = if is_pem(text) {
        PKey::public_key_from_pem(text.as_bytes())
    } else {
        PKey::public_key_from_der(&base64_lines(text)?)
    };
    key.and_then(|key| key.rsa()).map_err(|e| format!("signing.public_key_file: {e}"))
}

fn rsa_private(text: &str) -> Result<Rsa<Private>, String> {
    let key = if is_pem(text) {
        PKey::private_key_from_pem(text.as_bytes())
    } else {
        PKey::private_key_from_der(&base64_lines(text)?)
    };
    key.and_then(|key| key.rsa()).map_err(|e| format!("signing.private_key_file: {e}"))
}

fn sm2_public(text: &str) -> Result<sm2::PublicKey, String> {
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

fn sm2_private(text: &str) -> Result<sm2::SecretKey, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("signing.private_key_file: not an SM2 key: {e}");
    if is_pem(text) {
        return sm2::SecretKey::from_pkcs8_pem(text.trim()).map_err(|e| wrong(&e));
    }
    let bytes = hex::decode(text.trim()).map_err(|e| wrong(&e))?;
    sm2::SecretKey::from_slice(&bytes).map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        [
            ("table", "part"),
            ("group", "basic"),
            ("where", ""),
            ("appID", "210102"),
            ("timestamp", "1555646400"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn settings(algorithm: Algorithm) -> Settings {
        Settings { algorithm, secret: Some("secret".to_owned()), ..Settings::default() }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[rstest::rstest]
    #[case(Settings::default(), "appID=210102&group=basic&table=part&timestamp=1555646400")]
    #[case(
        Settings { order: Order::Listed, empties: true, ..Settings::default() },
        "group=basic&table=part&where=&appID=210102&timestamp=1555646400"
    )]
    #[case(
        Settings { names: false, separator: String::new(), suffix: "{secret}".to_owned(), ..Settings::default() },
        "210102basicpart1555646400secret"
    )]
    #[case(
        Settings { suffix: "&key={secret}".to_owned(), ..Settings::default() },
        "appID=210102&group=basic&table=part&timestamp=1555646400&key=secret"
    )]
    fn the_canonical_text_follows_the_convention(#[case] settings: Settings, #[case] want: &str) {
        let settings = Settings { secret: Some("secret".to_owned()), ..settings };
        assert_eq!(Convention::new(settings).unwrap().canonical(&parameters()), want);
    }

    #[test]
    fn values_are_percent_encoded_where_agreed() {
        let settings = Settings { percent_encode: true, ..settings(Algorithm::HmacSha256) };
        let parameters = [("data".to_owned(), "[{\"a\":\"和\"}]".to_owned())].into();
        let canonical = Convention::new(settings).unwrap().canonical(&parameters);
        assert_eq!(canonical, "data=%5B%7B%22a%22%3A%22%E5%92%8C%22%7D%5D");
    }

    /// Digests of `abc` and HMACs of known keys, from RFC 1321, FIPS 180-4, GM/T 0004 and RFC 4231.
    #[test]
    fn digests_agree_with_their_standards() {
        assert_eq!(hex::encode(Md5::digest("abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex::encode(Sha256::digest("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex::encode(Sm3::digest("abc")),
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
        );
        assert_eq!(
            hex::encode(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    /// HMAC with SM3, written out as RFC 2104 defines it.
    #[test]
    fn hmac_with_sm3_follows_its_definition() {
        let padded = |pad: u8| {
            let mut block = [pad; 64];
            b"secret".iter().zip(&mut block).for_each(|(key, byte)| *byte ^= key);
            block
        };
        let inner = Sm3::digest([&padded(0x36)[..], b"text"].concat());
        let want = Sm3::digest([&padded(0x5c)[..], &inner[..]].concat());
        assert_eq!(hmac_sm3(b"secret", b"text"), want.to_vec());
    }

    #[rstest::rstest]
    #[case(Algorithm::Digest, Reduction::Md5)]
    #[case(Algorithm::Digest, Reduction::Sm3)]
    #[case(Algorithm::HmacSha256, Reduction::Sha256)]
    #[case(Algorithm::HmacSm3, Reduction::None)]
    fn symmetric_signatures_are_verified(#[case] algorithm: Algorithm, #[case] digest: Reduction) {
        let settings = Settings {
            digest,
            suffix: "&key={secret}".to_owned(),
            encoding: Encoding::HexUpper,
            ..settings(algorithm)
        };
        check_both_ways(&Convention::new(settings).unwrap());
    }

    fn check_both_ways(convention: &Convention) {
        let sign = convention.sign(&parameters()).unwrap();
        assert!(convention.verify(&parameters(), &sign).unwrap());
        let mut changed = parameters();
        changed.insert("table".to_owned(), "other".to_owned());
        assert!(!convention.verify(&changed, &sign).unwrap(), "a changed parameter");
        assert!(!convention.verify(&parameters(), "zz").unwrap(), "no signature at all");
        assert!(!convention.verify(&parameters(), "").unwrap(), "an empty signature");
    }

    #[test]
    fn rsa_encrypts_the_digest_for_the_receiver() {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let public = file(&STANDARD.encode(key.public_key_to_der().unwrap()));
        let private = file(&String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap());
        let settings = Settings {
            encoding: Encoding::Base64,
            digest: Reduction::Md5,
            digest_as_text: true,
            public_key_file: Some(public.path().to_owned()),
            private_key_file: Some(private.path().to_owned()),
            ..settings(Algorithm::Rsa)
        };
        check_both_ways(&Convention::new(settings.clone()).unwrap());
        let sender = Convention::new(Settings { private_key_file: None, ..settings }).unwrap();
        assert!(sender.verify(&parameters(), "aGVsbG8=").unwrap_err().contains("private_key_file"));
    }

    /// The key pair of GM/T 0003.5, annex A.
    const SM2_PRIVATE: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
    const SM2_PUBLIC: &str = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
                              ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";

    #[rstest::rstest]
    #[case(Algorithm::Sm2Encrypt, Sm2Layout::C1c3c2)]
    #[case(Algorithm::Sm2Encrypt, Sm2Layout::C1c2c3)]
    #[case(Algorithm::Sm2Sign, Sm2Layout::C1c3c2)]
    fn sm2_works_both_ways(#[case] algorithm: Algorithm, #[case] sm2_layout: Sm2Layout) {
        let (public, private) = (file(SM2_PUBLIC), file(SM2_PRIVATE));
        let settings = Settings {
            sm2_layout,
            digest: Reduction::Sm3,
            public_key_file: Some(public.path().to_owned()),
            private_key_file: Some(private.path().to_owned()),
            ..settings(algorithm)
        };
        check_both_ways(&Convention::new(settings).unwrap());
    }

    /// The signature of GM/T 0003.5, annex A, over `message digest`.
    #[test]
    fn the_sm2_signature_of_the_standard_is_accepted() {
        let public = file(SM2_PUBLIC);
        let settings = Settings {
            fields: vec!["data".to_owned()],
            names: false,
            public_key_file: Some(public.path().to_owned()),
            ..settings(Algorithm::Sm2Sign)
        };
        let parameters = [("data".to_owned(), "message digest".to_owned())].into();
        let sign = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3\
                    b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";
        assert!(Convention::new(settings).unwrap().verify(&parameters, sign).unwrap());
    }

    #[rstest::rstest]
    #[case(Settings::default(), "secret_env")]
    #[case(Settings { algorithm: Algorithm::Digest, ..settings(Algorithm::Digest) }, "suffix")]
    #[case(settings(Algorithm::Rsa), "public_key_file")]
    #[case(settings(Algorithm::Sm2Sign), "private_key_file")]
    #[case(Settings { digest: Reduction::None, ..settings(Algorithm::Sm2Encrypt) }, "digest")]
    #[case(Settings { public_key_file: Some("/does/not/exist".into()), ..settings(Algorithm::Rsa) }, "exist")]
    fn incomplete_conventions_are_refused(#[case] settings: Settings, #[case] names: &str) {
        let error = Convention::new(settings).unwrap_err();
        assert!(error.contains(names), "{error}");
    }
}
