// Starts an S3-compatible server (s3rver) and Azurite on free ports of this machine, in the folder given, says on stdout
// where they are, as variables for the tests, and ends when its stdin does.
'use strict';

const { spawn } = require('child_process');
const crypto = require('crypto');
const http = require('http');
const path = require('path');
const S3rver = require('s3rver');

const BUCKET = 'kohort';
// The account that every emulator has.
const ACCOUNT = 'devstoreaccount1';
const KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
const folder = process.argv[2];
const say = (name, url) => console.log(`${name}=${url}`);

const stores = new S3rver({ port: 0, address: '127.0.0.1', silent: true, vhostBuckets: false, directory: path.join(folder, 's3'),
    configureBuckets: [{ name: BUCKET }] });
stores.run((error, address) => {
    if (error) throw error;
    say('KOHORT_TEST_S3', `http://127.0.0.1:${address.port}`);
});

const azurite = spawn(process.execPath, [
    require.resolve('azurite/dist/src/blob/main.js'),
    '--location', path.join(folder, 'azure'), '--blobPort', '0', '--silent', '--skipApiVersionCheck', '--disableTelemetry',
], { stdio: ['ignore', 'pipe', 'inherit'] });
azurite.stdout.on('data', (text) => {
    const found = /successfully listens on (http:\S+)/.exec(text);
    if (found) makeContainer(found[1]);
});

function makeContainer(server) {
    const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2020-10-02', 'Content-Length': 0 };
    const named = `x-ms-date:${headers['x-ms-date']}\nx-ms-version:${headers['x-ms-version']}`;
    const text = `PUT${'\n'.repeat(12)}${named}\n/${ACCOUNT}/${ACCOUNT}/${BUCKET}\nrestype:container`;
    const signature = crypto.createHmac('sha256', Buffer.from(KEY, 'base64')).update(text).digest('base64');
    headers.Authorization = `SharedKey ${ACCOUNT}:${signature}`;
    const request = http.request(`${server}/${ACCOUNT}/${BUCKET}?restype=container`, { method: 'PUT', headers });
    request.on('response', (response) => {
        if (response.statusCode !== 201) throw new Error(`no container: status ${response.statusCode}`);
        say('KOHORT_TEST_AZURE', server);
        response.resume();
    });
    request.end();
}
azurite.on('exit', () => process.exit(1));

process.stdin.resume();
process.stdin.on('end', () => {
    azurite.removeAllListeners('exit');
    azurite.kill();
    process.exit(0);
});
