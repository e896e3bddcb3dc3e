// Writes down how Node's http has read each request: see reading.go. Arguments: port, file.
const { appendFileSync } = require('node:fs')
const http = require('node:http')

const [port, file] = process.argv.slice(2)

const server = http.createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const { method, url: target, headers } = request
    const reading = { method, target, host: headers.host ?? '', x_a: headers['x-a'] ?? '' }
    reading.body = Buffer.concat(chunks).toString('latin1')
    appendFileSync(file, JSON.stringify(reading) + '\n')
    response.end('read\n')
  })
})
server.listen(Number(port), '127.0.0.1')
