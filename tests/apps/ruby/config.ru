# A Rack application without a gem: the usual routes.

require "json"

HERE = __dir__

def number(query, name, otherwise)
  query[/(?:\A|&)#{name}=(\d+)/, 1]&.to_i || otherwise
end

def text(body, status: 200, type: "text/plain")
  [status, { "content-type" => type, "content-length" => body.bytesize.to_s }, [body]]
end

# Yields its chunks as they come; puma sends each at once.
class Chunks
  def initialize(count, pause)
    @count = count
    @pause = pause
  end

  def each
    @count.times do |i|
      sleep @pause if i.positive?
      yield "chunk #{i}\n"
    end
  end
end

def echo(env)
  headers = env.select { |name, _| name.start_with?("HTTP_") }
  headers = headers.transform_keys { |name| name.delete_prefix("HTTP_").tr("_", "-").downcase }
  text(JSON.generate({
    method: env["REQUEST_METHOD"], scheme: env["rack.url_scheme"], path: env["PATH_INFO"],
    query: env["QUERY_STRING"], headers: headers, body: env["rack.input"]&.read.to_s
  }), type: "application/json")
end

run lambda { |env|
  query = env["QUERY_STRING"].to_s
  case env["PATH_INFO"]
  when "/" then text("hello from ruby\n")
  when "/echo" then echo(env)
  when "/slow"
    sleep number(query, "ms", 100) / 1000.0
    text("slow\n")
  when "/stream"
    [200, { "content-type" => "text/plain" }, Chunks.new(number(query, "n", 5), number(query, "ms", 100) / 1000.0)]
  when "/crash" then exit!(1)
  when "/version" then text(File.read(File.join(HERE, "VERSION")))
  else text("not found\n", status: 404)
  end
}
