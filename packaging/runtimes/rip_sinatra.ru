# Runs the Sinatra application of one file, $RIP_ENTRY, by the Rack server that reads this: the one that is written at its
# top, else the last class of Sinatra's in it. Never here: listening, which the file would do if it were run by itself.

require "sinatra/base"
# Where the file requires "sinatra" and is not the program itself, Sinatra starts no server.
load ENV.fetch("RIP_ENTRY")

classic = defined?(Sinatra::Application) && Sinatra::Application
own = ObjectSpace.each_object(Class).select { |found| found < Sinatra::Base && found != classic && found.name }
own = own.select { |found| found.routes.any? && !found.name.start_with?("Sinatra::") }
leaf = own.find { |found| own.none? { |other| other < found } }
run(classic && (classic.routes.any? || leaf.nil?) ? classic : leaf)
