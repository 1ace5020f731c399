"""The producer's client of Kafka is Faust's: it gets the same security as librdkafka's, or an error names what it
cannot do."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import faust
import pytest

from lab.certificates import Certificates, make_certificates
from pipeline.clock import now
from pipeline.errors import Invalid
from pipeline.watchdog import Heartbeat
from producer.faust_app import ConsumerWatch, credentials

SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "producer",
    "sasl.password": "p",
}
OIDC = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.token.endpoint.url": "https://id.example/token",
    "sasl.oauthbearer.client.id": "producer",
    "sasl.oauthbearer.client.secret": "s",
    "sasl.oauthbearer.extensions": "logicalCluster=lkc-1, identityPoolId=pool-1",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), now())


@pytest.mark.parametrize("configuration", [{}, {"security.protocol": "plaintext"}, {"socket.timeout.ms": "1"}])
def test_without_security_there_is_nothing_to_hand_on(configuration: dict[str, str]) -> None:
    assert credentials(configuration) is None


def test_a_password_in_the_clear() -> None:
    actual = credentials({**SCRAM, "security.protocol": "sasl_plaintext"})
    assert isinstance(actual, faust.SASLCredentials)
    assert (actual.username, actual.password, actual.mechanism.value) == ("producer", "p", "SCRAM-SHA-512")
    assert actual.ssl_context is None


def test_tokens_of_an_identity_provider() -> None:
    actual = credentials(OIDC)
    assert isinstance(actual, faust.OAuthCredentials)
    assert actual.protocol.value == "SASL_SSL"
    assert actual.oauth_cb.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}
    in_the_clear = credentials({**OIDC, "security.protocol": "SASL_PLAINTEXT", "sasl.oauthbearer.extensions": ""})
    assert in_the_clear.protocol.value == "SASL_PLAINTEXT"
    assert in_the_clear.oauth_cb.extensions() == {}


def test_the_authority_is_trusted_alone_and_names_are_checked(certificates: Certificates) -> None:
    for name, value in (
        ("ssl.ca.location", str(certificates.authority)),
        ("ssl.ca.pem", certificates.authority.read_text()),
    ):
        context = credentials({**SCRAM, name: value}).ssl_context
        assert [found["issuer"][0][0][1] for found in context.get_ca_certs()] == ["gsc-stream lab"]
        assert context.check_hostname
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_checks_that_are_switched_off(certificates: Certificates) -> None:
    trusted = {**SCRAM, "ssl.ca.location": str(certificates.authority)}
    unnamed = credentials({**trusted, "ssl.endpoint.identification.algorithm": "none"}).ssl_context
    assert not unnamed.check_hostname
    assert unnamed.verify_mode == ssl.CERT_REQUIRED
    unchecked = credentials({**trusted, "enable.ssl.certificate.verification": "false"}).ssl_context
    assert unchecked.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(("kafka_answers", "stalled"), [(True, "consumer: no progress for 60 s"), (False, None)])
def test_a_consumer_that_asks_for_no_records_hangs_unless_kafka_is_away(
    kafka_answers: bool, stalled: str | None
) -> None:
    app = SimpleNamespace(consumer=SimpleNamespace(diag=SimpleNamespace(last_transition={"FETCHING": 40.0})))
    watch = ConsumerWatch(Heartbeat("consumer", 30.0, 0.0), lambda _: kafka_answers)
    watch.look(app, 100.0)
    assert watch.heartbeat.stalled(100.0) == stalled


def test_a_certificate_of_our_own(certificates: Certificates) -> None:
    files = {"ssl.certificate.location": str(certificates.certificate), "ssl.key.location": str(certificates.key)}
    actual = credentials({"security.protocol": "SSL", "ssl.ca.location": str(certificates.authority), **files})
    assert isinstance(actual, faust.SSLCredentials)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sasl.mechanism": "GSSAPI"}, "GSC_KAFKA_SASL_MECHANISM"),
        ({"sasl.mechanism": "OAUTHBEARER"}, "GSC_KAFKA_SASL_OAUTHBEARER_METHOD"),
        ({**OIDC, "sasl.oauthbearer.method": "default"}, "GSC_KAFKA_SASL_OAUTHBEARER_METHOD"),
        ({**OIDC, "sasl.oauthbearer.client.id": ""}, "GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_ID"),
        ({**OIDC, "sasl.oauthbearer.client.secret": ""}, "GSC_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"),
        ({**OIDC, "sasl.oauthbearer.token.endpoint.url": "id"}, "GSC_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"),
        ({**OIDC, "sasl.oauthbearer.grant.type": "x"}, "GSC_KAFKA_SASL_OAUTHBEARER_GRANT_TYPE"),
        ({**OIDC, "https.ca.location": "/not/there"}, "GSC_KAFKA_HTTPS_CA_LOCATION"),
        ({"sasl.kerberos.keytab": "x"}, "GSC_KAFKA_SASL_KERBEROS_KEYTAB"),
        ({"ssl.keystore.location": "x"}, "GSC_KAFKA_SSL_KEYSTORE_LOCATION"),
        ({"enable.sasl.oauthbearer.unsecure.jwt": "true"}, "GSC_KAFKA_ENABLE_SASL_OAUTHBEARER_UNSECURE_JWT"),
        ({"ssl.ca.location": "/not/there"}, "GSC_KAFKA_SSL_CA_LOCATION"),
        ({"ssl.certificate.location": "/not/there"}, "GSC_KAFKA_SSL_CERTIFICATE_LOCATION"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(wrong: dict[str, str], field: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        credentials({**SCRAM, **wrong})
    assert caught.value.field == field
