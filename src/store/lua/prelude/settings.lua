-- Webhooks' settings.

-- Whether a webhook is on: its settings name it, are active, and have a URL. Guarded: settings that cannot be read are
-- not.
local function is_active(webhook, settings)
  local readable, found = pcall(cjson.decode, settings)
  return readable and type(found) == 'table' and found.id == webhook and found.active == true and type(found.url) == 'string'
end
