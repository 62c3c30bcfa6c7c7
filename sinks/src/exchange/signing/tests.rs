use openssl::pkey::PKey;

use super::*;

fn parameters() -> Parameters {
    [("table", "part"), ("group", "basic"), ("where", ""), ("appID", "210102"), ("timestamp", "1555646400")]
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
