//! `[portal]`: the rules for links to the portal.

use toml::Value;

use super::Read;
use crate::config::{Portal, error::ConfigError};

impl Read<'_> {
    /// `[portal]`
    pub(super) fn portal(&self) -> Result<Portal, ConfigError> {
        const KEY: &str = "portal.embed_origins";
        let expected = "a list of origins, each https:// and a host without a path, such as [\"https://app.example.com\"]; \
                        http:// is only for this machine";
        let origin = |item: &Value| item.as_str()?.parse().ok();
        let items = self.list(KEY, expected)?.iter();
        let embed_origins =
            items.map(|item| origin(item).ok_or_else(|| self.refuse(KEY, expected))).collect::<Result<_, _>>()?;
        Ok(Portal { embed_origins })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_says, from_file};

    #[test]
    fn an_origin_of_the_portal_is_https_or_this_machine_and_has_no_path() {
        let settings =
            from_file("portal.embed_origins = [\"https://app.example.com\", \"http://localhost:3000\"]").unwrap();
        let origins: Vec<_> =
            settings.portal.embed_origins.iter().map(crate::domain::origin::WebOrigin::as_str).collect();
        assert_eq!(origins, ["https://app.example.com", "http://localhost:3000"]);
        for bad in ["\"*\"", "\"http://app.example.com\"", "\"https://app.example.com/\"", "\"app.example.com\"", "3"] {
            assert_says(
                from_file(&format!("portal.embed_origins = [{bad}]")),
                &["`portal.embed_origins`", "such as [\"https://app.example.com\"]"],
            );
        }
        assert_says(from_file("portal.embed_origins = \"https://app.example.com\""), &["a list of origins"]);
    }
}
