// Bookinfo's ratings service: the stars of a book's reviews. API-compatible with Istio's Bookinfo 1.20.
'use strict'

const http = require('node:http')

const version = process.env.SERVICE_VERSION || 'v1'
const DEFAULT_RATINGS = { Reviewer1: 5, Reviewer2: 4 }
const DELAY_MS = 7000
const HEALTH_PERIOD_MS = 60 * 1000
const posted = new Map()
let healthy = true

// v-unhealthy and v-unavailable alternate: healthy for a minute, unhealthy for a minute.
if (version === 'v-unhealthy' || version === 'v-unavailable') {
  setInterval(() => { healthy = !healthy }, HEALTH_PERIOD_MS).unref()
}

function send (response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(body))
}

// The ratings that v2 keeps in a database: MySQL with DB_TYPE=mysql, else MongoDB.
async function databaseRatings () {
  const stars = process.env.DB_TYPE === 'mysql' ? await fromMysql() : await fromMongo()
  if (stars.length < 2) throw new Error('the database holds fewer than two ratings')
  return { Reviewer1: stars[0], Reviewer2: stars[1] }
}

async function fromMysql () {
  const connection = await require('mysql2/promise').createConnection({
    host: process.env.MYSQL_DB_HOST,
    port: Number(process.env.MYSQL_DB_PORT || 3306),
    user: process.env.MYSQL_DB_USER,
    password: process.env.MYSQL_DB_PASSWORD,
    database: 'test',
    connectTimeout: 5000
  })
  try {
    const [rows] = await connection.query('SELECT Rating FROM ratings')
    return rows.map(row => row.Rating)
  } finally {
    await connection.end()
  }
}

async function fromMongo () {
  const { MongoClient } = require('mongodb')
  const client = new MongoClient(process.env.MONGO_DB_URL, { serverSelectionTimeoutMS: 5000 })
  try {
    const rows = await client.db('test').collection('ratings').find({}).toArray()
    return rows.map(row => row.rating)
  } finally {
    await client.close()
  }
}

async function getRatings (id, response) {
  if (version === 'v2') {
    try {
      return send(response, 200, { id, ratings: await databaseRatings() })
    } catch (error) {
      console.error(`ratings: ${error.message}`)
      return send(response, 500, { error: 'could not connect to ratings database' })
    }
  }
  if (version === 'v-faulty' && Math.random() < 0.5) return send(response, 503, { error: 'Service unavailable' })
  if (version === 'v-unavailable' && !healthy) return send(response, 503, { error: 'Service unavailable' })
  const body = { id, ratings: posted.get(id) || DEFAULT_RATINGS }
  if (version === 'v-delayed' && Math.random() < 0.5) return setTimeout(() => send(response, 200, body), DELAY_MS)
  return send(response, 200, body)
}

function postRatings (id, request, response) {
  if (version === 'v2') return send(response, 501, { error: 'Post not implemented for database backed ratings' })
  const chunks = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    let ratings
    try {
      ratings = JSON.parse(Buffer.concat(chunks).toString())
    } catch {
      return send(response, 400, { error: 'please provide valid ratings JSON' })
    }
    posted.set(id, ratings)
    return send(response, 200, { id, ratings })
  })
}

const server = http.createServer((request, response) => {
  const path = new URL(request.url, 'http://ratings').pathname
  if (path === '/health') {
    return healthy || version !== 'v-unhealthy'
      ? send(response, 200, { status: 'Ratings is healthy' })
      : send(response, 500, { status: 'Ratings is not healthy' })
  }
  const match = /^\/ratings\/([^/]+)$/.exec(path)
  if (!match) return send(response, 404, { error: 'no such page' })
  const id = Number.parseInt(match[1], 10)
  if (Number.isNaN(id)) return send(response, 400, { error: 'please provide numeric product ID' })
  if (request.method === 'POST') return postRatings(id, request, response)
  if (request.method === 'GET') return getRatings(id, response)
  return send(response, 405, { error: 'method not allowed' })
})

// Longer than the hour for which Envoy keeps an idle connection. With Node's default of five seconds, a connection sometimes
// closes just as a proxy sends on it, and that request is lost.
server.keepAliveTimeout = 2 * 3600 * 1000
server.listen(Number(process.argv[2] || 9080))
process.on('SIGTERM', () => {
  server.keepAliveTimeout = 1
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
