"""The base of all settings models: closed, frozen, and clear about errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all settings: an unknown key is an error, and a value never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class SettingError(ValueError):
    """A setting that cannot work: names the key, the value that was given and what is allowed.

    `key` is the dotted path below the settings model that raised it. A caller that knows the path to that model from
    the root of params.yaml prefixes it with :meth:`under`.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {value}, {allowed}")
        self.key, self.value, self.allowed = key, value, allowed

    def under(self, prefix: str) -> SettingError:
        """Return the same error with `prefix` before its key."""
        return SettingError(f"{prefix}.{self.key}", self.value, self.allowed)
