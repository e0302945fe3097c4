require "rails"
require "active_record/railtie"
require "action_controller/railtie"

module Shop
  VERSION = File.read(File.expand_path("../VERSION", __dir__)).strip

  class Application < Rails::Application
    config.load_defaults 6.1
    config.hosts << "localhost"
    config.secret_key_base = "for tests alone"
    config.logger = Logger.new($stderr)
    config.log_level = :warn
    config.eager_load = true
    config.active_record.dump_schema_after_migration = false
  end
end
