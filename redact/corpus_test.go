package redact_test

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
)

// The characters that tokens are made of.
const (
	digits  = "0123456789"
	hexa    = digits + "abcdef"
	uppers  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowers  = "abcdefghijklmnopqrstuvwxyz"
	alnums  = digits + uppers + lowers
	base64s = alnums + "+/"
	urls    = alnums + "-_"
	base32s = uppers + "234567"
)

// draw returns n random characters.
func draw(r *rand.Rand, from string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

// secret is a way to make a credential.
type secret struct {
	kind string
	make func(r *rand.Rand) string
}

// tokens returns the credentials that are known by their form. They are made at
// run time: none stands in a file.
func tokens() []secret {
	var list []secret
	add := func(kind, before, from string, n int) {
		list = append(list, secret{kind, func(r *rand.Rand) string { return before + draw(r, from, n) }})
	}
	for p := range strings.FieldsSeq("ghp gho ghu ghs ghr") {
		add("github "+p, p+"_", alnums, 36)
	}
	list = append(list,
		secret{"github fine", func(r *rand.Rand) string { return "github_" + "pat_" + draw(r, alnums, 22) + "_" + draw(r, alnums, 59) }},
		secret{"sendgrid", func(r *rand.Rand) string { return "S" + "G." + draw(r, urls, 22) + "." + draw(r, urls, 43) }},
		secret{"slack bot", func(r *rand.Rand) string {
			return "xo" + "xb-" + draw(r, digits, 12) + "-" + draw(r, digits, 12) + "-" + draw(r, alnums, 24)
		}},
		secret{"slack user", func(r *rand.Rand) string {
			return "xo" + "xp-" + draw(r, digits, 12) + "-" + draw(r, digits, 12) + "-" + draw(r, digits, 12) + "-" + draw(r, hexa, 32)
		}},
		secret{"jwt", func(r *rand.Rand) string {
			e := base64.RawURLEncoding
			return e.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + e.EncodeToString([]byte(`{"sub":"`+draw(r, alnums, 12)+`","iat":1}`)) + "." + draw(r, urls, 43)
		}},
		secret{"jwt long", func(r *rand.Rand) string {
			e := base64.RawURLEncoding
			return e.EncodeToString([]byte(`{"alg":"RS256","x5c":"`+draw(r, base64s, 900)+`"}`)) + "." + e.EncodeToString([]byte(`{"sub":"`+draw(r, alnums, 1200)+`"}`)) + "." + draw(r, urls, 342)
		}},
		secret{"shopify", func(r *rand.Rand) string { return "shp" + "at_" + draw(r, hexa, 32) }},
		secret{"airtable", func(r *rand.Rand) string { return "pa" + "t" + draw(r, alnums, 14) + "." + draw(r, hexa, 64) }},
		secret{"vault", func(r *rand.Rand) string { return "hv" + "s." + draw(r, urls, 90) }},
		secret{"postman", func(r *rand.Rand) string { return "PM" + "AK-" + draw(r, hexa, 24) + "-" + draw(r, hexa, 34) }},
		secret{"doppler", func(r *rand.Rand) string { return "dp" + ".pt." + draw(r, alnums, 43) }},
		secret{"dynatrace", func(r *rand.Rand) string { return "dt0" + "c01." + draw(r, base32s, 24) + "." + draw(r, base32s, 64) }},
		secret{"brevo", func(r *rand.Rand) string { return "xkey" + "sib-" + draw(r, hexa, 64) + "-" + draw(r, alnums, 16) }},
		secret{"grafana", func(r *rand.Rand) string { return "gl" + "sa_" + draw(r, alnums, 32) + "_" + draw(r, hexa, 8) }},
		secret{"openai project", func(r *rand.Rand) string {
			return "sk" + "-proj-" + draw(r, urls, 74) + "T3Blbk" + "FJ" + draw(r, urls, 74)
		}},
	)
	add("aws", "AK"+"IA", base32s, 16)
	add("aws session", "AS"+"IA", base32s, 16)
	add("gitlab", "gl"+"pat-", urls, 20)
	add("gitlab runner", "gl"+"rt-", urls, 20)
	add("openai", "sk"+"-", alnums, 48)
	add("anthropic", "sk"+"-ant-api03-", urls, 95)
	add("openrouter", "sk"+"-or-v1-", hexa, 64)
	add("google", "AI"+"za", urls, 35)
	add("google oauth", "GOC"+"SPX-", urls, 28)
	add("stripe live", "sk"+"_live_", alnums, 24)
	add("stripe restricted", "rk"+"_live_", alnums, 99)
	add("stripe webhook", "wh"+"sec_", alnums, 32)
	add("twilio", "S"+"K", hexa, 32)
	add("mailgun", "ke"+"y-", hexa, 32)
	add("npm", "np"+"m_", alnums, 36)
	add("pypi", "py"+"pi-AgEIcHlwaS5vcmc", urls, 120)
	add("rubygems", "ruby"+"gems_", hexa, 48)
	add("docker", "dckr"+"_pat_", urls, 27)
	add("digitalocean", "do"+"p_v1_", hexa, 64)
	add("databricks", "da"+"pi", hexa, 32)
	add("square", "sq0"+"csp-", urls, 43)
	add("linear", "lin"+"_api_", alnums, 40)
	add("huggingface", "hf"+"_", uppers+lowers, 34)
	add("replicate", "r8"+"_", alnums, 37)
	add("groq", "gs"+"k_", alnums, 52)
	add("xai", "xa"+"i-", alnums, 80)
	add("perplexity", "ppl"+"x-", alnums, 48)
	add("planetscale", "pscale"+"_tkn_", urls, 43)
	add("supabase", "sb"+"p_", hexa, 40)
	add("netlify", "nf"+"p_", alnums, 36)
	add("figma", "fi"+"gd_", urls, 40)
	add("pulumi", "pu"+"l-", hexa, 40)
	add("newrelic", "NR"+"AK-", uppers+digits, 27)
	add("age", "AGE-"+"SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)
	add("opencode", "o"+"c_", alnums, 28)
	add("tailscale", "ts"+"key-auth-k", alnums, 30)
	add("atlassian", "AT"+"ATT3xFfGF0", urls, 180)
	return list
}

// contexts are places where a token may stand. "§" is the token.
func contexts() []string {
	return []string{
		"§", "token is §\n", "time=1 level=INFO msg=\"signed in\" token=§ user=ann\n", "export API_TOKEN=§\n", "API_KEY='§'\n", "KEY=\"§\"\n",
		`{"token":"§","n":1}`, `{"body":"{\"api_key\":\"§\"}"}`, "api:\n  key: §\n  n: 1\n", "- §\n", "https://x.org/a?key=§&n=1\n",
		"Authorization: Bearer §\n", "X-Api-Key: §\r\n", "curl -H \"Authorization: Bearer §\" https://x.org\n", "curl -H 'X-Token: §'\n",
		"--- a/.env\n+++ b/.env\n-X=1\n+X=§\n", "const k = \"§\";\n", "client(§, 1)\n", "<key>§</key>\n", "\x1b[32m§\x1b[0m\n", `"line\n§\n"`,
		"https://§@github.com/a/b\n", "https://user:§@github.com/a/b\n", "(§)", "a,§,b\n", "`§`", "[§]", "--token §\n", "--token=§\n", "sign in with §.\n",
	}
}

// assigned are places where any random value is secret. "§" is the value.
func assigned() []string {
	return []string{
		"DB_PASSWORD=§\n", "export DB_PASSWORD='§'\n", "password: §\n", "password: \"§\"\n", "{\"password\": \"§\", \"n\": 1}", `{\"password\":\"§\"}`,
		"aws_secret_access_key = §\n", "AWS_SECRET_ACCESS_KEY=§\n", "{\"clientSecret\":\"§\"}\n", "client_secret=§&grant_type=x\n",
		"?access_token=§&a=b\n", "api_key = '§'\n", "apiKey: \"§\",\n", "X-Api-Key: §\r\n", "Authorization: Bearer §\n", "\"Authorization\": \"Bearer §\"\n",
		"authorization: token §\n", "postgres://app:§@db:5432/x\n", "redis://:§@localhost:6379\n", "+SECRET_KEY=§\n", "-  secret_key: §\n",
		"<password>§</password>\n", "Password=§;Server=x\n", "Server=x;Password=§;", "ENV DB_PASSWORD=§\n", "--password §\n", "--api-key=§ run\n",
		"- name: DB_PASSWORD\n  value: §\n", "{\"name\":\"API_KEY\",\"value\":\"§\"}", "password: str = \"§\"\n", "password := \"§\"\n", "'password' => '§',\n",
		"//registry.example.com/:_authToken=§\n", "machine x login y password §\n", "curl -u ann:§ https://x.org\n", "curl https://x.org \\\n  --user ann:'§'\n", "-H 'Authorization: Api-Token §'\n", "curl -u \"§:\" https://x.org\n", "{\"auth_token\": \"§\"}\n",
		"JWT_SECRET=\"§\"\n", "private_key_id: x\nprivate_key: \"§\"\n", "ACCOUNT_KEY=§\n", "DefaultEndpointsProtocol=https;AccountKey=§;\n", "MY_PASS=§ cmd\n",
		"level=info password=§ msg=x\n", "Proxy-Authorization: Bearer §\n", "config.password = '§'\n", "set PASSWORD=§\n", "${DB_PASSWORD:-§}\n", "setting passwd='§'\n",
	}
}

// values returns random values, as programs make them.
func values(r *rand.Rand) []string {
	return []string{draw(r, alnums, 32), draw(r, hexa, 40), draw(r, base64s, 40), draw(r, urls, 43), draw(r, alnums, 20) + "7"}
}

// lookalikes are texts that must stay as they are.
func lookalikes(r *rand.Rand) []string {
	hex := func(n int) string { return draw(r, hexa, n) }
	uuid := hex(8) + "-" + hex(4) + "-4" + hex(3) + "-a" + hex(3) + "-" + hex(12)
	list := []string{
		"commit " + hex(40) + "\nAuthor: Ann <ann@x.org>\n", "index " + hex(7) + ".." + hex(7) + " 100644\n", uuid, "id=" + uuid, "{\"id\":\"" + uuid + "\"}",
		"sha256:" + hex(64), "\"integrity\": \"sha512-" + draw(r, base64s, 86) + "==\",", "integrity sha512-" + draw(r, base64s, 86) + "==\n",
		hex(64) + "  file.tar.gz\n", "md5: " + hex(32), "data:image/png;base64," + draw(r, base64s, 400) + "==", "h1:" + draw(r, base64s, 43) + "=\n",
		"github.com/a/b v1.2.3 h1:" + draw(r, base64s, 43) + "=", "etag: \"" + hex(32) + "\"", "\"checksum\": \"" + hex(64) + "\"", "checksum = \"" + hex(64) + "\"",
		"traceparent: 00-" + hex(32) + "-" + hex(16) + "-01", "request_id=" + uuid, "X-Request-Id: " + uuid, "ses_" + draw(r, alnums, 26), "session=ses_" + draw(r, alnums, 26),
		"\"sessionID\":\"ses_" + draw(r, alnums, 26) + "\"", "container " + hex(64), "FROM node@sha256:" + hex(64), "resolved \"https://registry.example.com/a/-/a-1.tgz#" + hex(40) + "\"",
		"key: npm-cache-" + hex(40), "cache-key=" + hex(64), "\"gitHead\": \"" + hex(40) + "\"", "PublicKeyToken=" + hex(16), "ssh-rsa AAAAB3NzaC1yc2E" + draw(r, base64s, 200) + " a@b",
		"-----BEGIN CERTIFICATE-----\n" + draw(r, base64s, 64) + "\n" + draw(r, base64s, 64) + "\n-----END CERTIFICATE-----\n",
		"-----BEGIN PUBLIC KEY-----\n" + draw(r, base64s, 64) + "\n-----END PUBLIC KEY-----\n", "//# sourceMappingURL=data:application/json;base64," + base64.StdEncoding.EncodeToString([]byte(`{"version":3,"sources":["`+draw(r, alnums, 90)+`"]}`)),
		"pk_" + "live_" + draw(r, alnums, 24), "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf", "nextPageToken: \"" + draw(r, alnums, 40) + "\"",
		"digest=" + hex(64), "\"_shasum\": \"" + hex(40) + "\"", "nonce-" + draw(r, alnums, 22), "v=1; h=" + hex(40),
	}
	for line := range strings.SplitSeq(plainLines, "\n") {
		list = append(list, line)
	}
	return list
}

// plainLines are code, prose and placeholders without a secret.
const plainLines = `class="sk-button sk-toggleable__label sk-toggleable__label-arrow"
.sk-estimator-doc-link-with-a-very-long-name { color: red }
sk-container-id-1 sk-text-repr-fallback sk-dashed-wrapped sk-parallel-item
--- PASS: TestString (0.00s)
PASS: tests/unit1.test.ts (12 tests)
PASS = 12, FAIL = 0
pass: true
  token: string
token: string;
  password: string | null,
  password?: string;
export interface Login { username: string; password: string }
password: Optional[str] = None
def login(user, password=None, token=None):
login(user=user, password=password, token=token)
const token = getToken();
const token = req.headers.authorization
const apiKey = process.env.OPENAI_API_KEY;
api_key=os.environ["OPENAI_API_KEY"]
api_key = os.getenv("API_KEY")
OPENAI_API_KEY=YOUR_API_KEY
OPENAI_API_KEY=your-api-key-here
OPENAI_API_KEY=sk-your-api-key-here
OPENAI_API_KEY="sk-..."
export GITHUB_TOKEN=<your-token>
export GITHUB_TOKEN=gh` + "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" + `
TOKEN=${TOKEN}
token: ${{ secrets.GITHUB_TOKEN }}
  token: ${TOKEN:-none}
password: $DB_PASSWORD
DB_PASSWORD=$(cat /run/secrets/db)
PASSWORD=changeme
password: "********"
password = "<password>"
"password": "",
"password": null,
"token": "{{ token }}",
Authorization: Bearer $TOKEN
Authorization: Bearer ${TOKEN}
Authorization: Bearer <token>
Authorization: Bearer YOUR_ACCESS_TOKEN
-H "Authorization: Bearer $(gcloud auth print-access-token)"
"Authorization": ` + "`Bearer ${token}`" + `
headers["Authorization"] = "Bearer " + token
bearer token authentication is required
Bearer authentication, basic authorisation
basic understanding of authentication
https://user:password@host/path
https://user:${PASSWORD}@host/path
postgres://user:pass@localhost:5432/db
git@github.com:a/b.git
ssh://git@github.com/a/b.git
https://github.com:443/a@b
http://localhost:8080/a?b=c@d
max_tokens: 4096
"total_tokens": 123456789012345678
usage: {"prompt_tokens": 12, "completion_tokens": 34}
tokenizer: gpt2
token_type: bearer
"token_type": "Bearer",
secretName: my-app-secret-production
secretKeyRef: {name: db, key: password}
passwd: files systemd
Enter password: 
Password: required
password: incorrect
"password": "Enter your password"
"forgotPassword": "Forgot your password?",
placeholder="Password" type="password" name="password" autocomplete="current-password"
<input type="password" id="password">
<label for="password">Password:</label>
--password string   the password
--token TOKEN       the token to use
--api-key <key>
PWD=/home/ann/src
OLDPWD=/home/ann
public_key: abcdefghijklmnopqrstuvwxyz0123456789
keyboard: us
monkey=banana
author: Ann Example
primary key: id
key: value
if (key == "abc") { return }
type Key = string
private key: see the documentation
secret: true
passwordField = "password"
user.password = user.newPassword
this.password = hashedPassword;
password = hash(password)
password: Joi.string().min(8).required(),
password: z.string().min(8)
password: faker.internet.password(),
PASSWORD_MIN_LENGTH=12
AWS_ACCESS_KEY_ID=AK` + "IAIOSFODNN7EXAMPLE" + `
aws_secret_access_key = wJalrXUtn` + "FEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" + `
if strings.HasPrefix(s, "-----BEGIN RSA PRIVATE KEY-----") {
re := "-----BEGIN [A-Z ]*PRIVATE KEY-----"
looks for ghp_ and sk- and AKIA prefixes
npm_config_registry=https://registry.example.com/ npm_lifecycle_event=test
oc_get_pods hf_hub_download api_org_name key-value-store SKIPPED
drwxr-xr-x 2 ann ann 4096 Jan 1 12:00 password-store
ok  	opencode/agent/tool	1.234s  coverage: 91.2% of statements
error: src/token.ts:12:5 - Type 'string' is not assignable
const tokens = lexer.tokenize(input)
token := lexer.Next()
let token = tokens[i];
for token in tokens: print(token)
expected token: identifier
CSRF token: missing
auth: required
basic: yes
Cookie: none
Set-Cookie: lang=en; Path=/
signature: func(a, b int) string
sig: (a: string) => void
docker run -u 1000:1000 image
rsync -u ann:data/ .
curl -u <user:password> https://x.org
- (id)hf_requiredCharacteristicTypesForDisplayMetadata;
https://x.org/video_box.ico-7a388b69018576d24b59331fd60aab0c.png
SUMO_ACCESS_KEY={SumoAccessKey}
const token = request.headers.get(name)
token: authenticationTokenProvider
cmd.Env = append(os.Environ(), "PWD="+dir)
PrivateKey: testEd25519PrivateKey,
encryptionKey1024: dk.encryptionKey1024,
use the --username and --password options instead
user_pass = '%s:%s' % (user, word)
token = Operator
exports.Socks5Auth = exports.Socks5HostType = exports.SocksCommand
the secret: be patient
Note: the token = the ticket you get
a := b; c == d => e; x::y; std::string
https://example.com/oauth?client_id=web&redirect_uri=https%3A%2F%2Fx.org&response_type=token
lorem ipsum dolor sit amet, consectetur adipiscing elit`
