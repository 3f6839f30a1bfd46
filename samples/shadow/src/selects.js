// Reports over HTTP how often the store beside it has been read since it started: once per request to ratings.
// It runs in the ratings image, whose MySQL client is mysql2 or, in older images, mysql: both have the same interface.
const http = require('node:http')

function client() {
  try {
    return require('mysql2')
  } catch {
    return require('mysql')
  }
}

function selects(done) {
  const connection = client().createConnection({ host: '127.0.0.1', user: 'root', password: process.env.MYSQL_ROOT_PASSWORD })
  connection.on('error', () => {}) // the query reports it too
  connection.query("SHOW GLOBAL STATUS LIKE 'Com_select'", (error, rows) => {
    connection.destroy()
    done(error, error ? undefined : Number(rows[0].Value))
  })
}

http.createServer((request, response) => {
  selects((error, number) => {
    response.writeHead(error ? 503 : 200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(error ? { why: error.message } : { selects: number }))
  })
}).listen(Number(process.env.PORT))
