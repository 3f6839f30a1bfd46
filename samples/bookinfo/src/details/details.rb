# Bookinfo's details service: data about a book. API-compatible with Istio's Bookinfo 1.20.
require 'json'
require 'net/http'
require 'webrick'

FORWARDED = %w[x-request-id x-ot-span-context x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority
               traceparent tracestate baggage x-cloud-trace-context grpc-trace-bin x-b3-traceid x-b3-spanid
               x-b3-parentspanid x-b3-sampled x-b3-flags sw8 end-user user-agent cookie authorization jwt].freeze

BOOK = {
  'author' => 'William Shakespeare', 'year' => 1595, 'type' => 'paperback', 'pages' => 200, 'publisher' => 'PublisherA',
  'language' => 'English', 'ISBN-10' => '1234567890', 'ISBN-13' => '123-1234567890'
}.freeze

# The books API's response for one ISBN, in the shape of BOOK. DO_NOT_ENCRYPT=true calls it over plain HTTP, for a mesh
# that originates TLS itself.
def external_details(isbn, id, headers)
  plain = ENV['DO_NOT_ENCRYPT'] == 'true'
  host = ENV.fetch('EXTERNAL_BOOK_SERVICE_HOST', 'www.googleapis.com')
  port = ENV.fetch('EXTERNAL_BOOK_SERVICE_PORT', plain ? '80' : '443').to_i
  http = Net::HTTP.new(host, port)
  http.read_timeout = 5
  http.use_ssl = !plain
  response = http.get("/books/v1/volumes?q=isbn:#{isbn}", headers)
  raise "books API answered #{response.code}" unless response.is_a?(Net::HTTPSuccess)

  volume = JSON.parse(response.body).fetch('items').fetch(0).fetch('volumeInfo')
  isbns = volume.fetch('industryIdentifiers', []).to_h { |i| [i['type'], i['identifier']] }
  { 'id' => id, 'author' => volume.fetch('authors', ['unknown'])[0], 'year' => volume['publishedDate'],
    'type' => volume['printType'] == 'BOOK' ? 'paperback' : 'unknown', 'pages' => volume['pageCount'],
    'publisher' => volume['publisher'], 'language' => volume['language'] == 'en' ? 'English' : 'unknown',
    'ISBN-10' => isbns['ISBN_10'], 'ISBN-13' => isbns['ISBN_13'] }
end

def details(id, headers)
  return external_details('0486424618', id, headers) if ENV['ENABLE_EXTERNAL_BOOK_SERVICE'] == 'true'

  { 'id' => id }.merge(BOOK)
end

def answer(response, status, body)
  response.status = status
  response['Content-Type'] = 'application/json'
  response.body = JSON.generate(body)
end

port = Integer(ARGV[0] || '9080')
# Longer than the hour for which Envoy keeps an idle connection, so that none closes just as a proxy sends on it.
server = WEBrick::HTTPServer.new(BindAddress: '*', Port: port, AccessLog: [], MaxClients: 256, RequestTimeout: 7200)
server.mount_proc('/health') { |_request, response| answer(response, 200, 'status' => 'Details is healthy') }
server.mount_proc('/details') do |request, response|
  id = begin
    Integer(request.path.split('/')[-1], 10)
  rescue ArgumentError, TypeError
    nil
  end
  if id.nil?
    answer(response, 400, 'error' => 'please provide numeric product id')
  else
    headers = FORWARDED.to_h { |name| [name, request[name]] }.compact
    begin
      answer(response, 200, details(id, headers))
    rescue StandardError => e
      warn "details: #{e.message}"
      answer(response, 500, 'error' => 'could not fetch the details of this book')
    end
  end
end
%w[INT TERM].each { |signal| trap(signal) { server.shutdown } }
server.start
