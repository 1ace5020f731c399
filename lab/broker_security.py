"""How the lab's broker is locked: certificates, passwords, and nothing allowed that no ACL allows."""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.certificates import Certificates

ADMIN = "admin"
_SCRAM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class BrokerSecurity:
    """SASL_SSL with SCRAM-SHA-512, and nothing allowed that no ACL allows; the user ADMIN may do all."""

    certificates: Certificates
    passwords: Mapping[str, str]
    """Of every user, ADMIN among them."""

    def client(self, user: str) -> dict[str, str]:
        """What a user's client needs besides the servers."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": _SCRAM,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.certificates.authority),
        }

    def properties(self) -> dict[str, str]:
        """The broker's."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        login = f'{module} required username="{ADMIN}" password="{self.passwords[ADMIN]}";'
        return {
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": _SCRAM,
            "sasl.mechanism.inter.broker.protocol": _SCRAM,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificates.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's listener, of this machine only, knows no names.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }

    def users(self) -> list[str]:
        """The options that make the users when the data folder is formatted."""
        made = [f"{_SCRAM}=[name={name},password={password}]" for name, password in self.passwords.items()]
        return [text for user in made for text in ("--add-scram", user)]
