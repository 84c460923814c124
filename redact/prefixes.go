package redact

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// prefix is a text that a credential begins with, and what must follow it.
type prefix struct {
	text string
	kind string
	// class are the characters that follow, at least min of them.
	class class
	min   int
	flags uint8
	// check decides in place of class and min.
	check func(l look, i int, p *prefix) verdict
}

const (
	// bounded prefixes count only where a word begins: they are short or look
	// like what else is written.
	bounded = 1 << iota
	// kept prefixes are no part of the secret, such as the path of a webhook.
	kept
	// made tokens have no form that words could have.
	made
	// exact tokens have min characters and no more.
	exact
	// anyCase prefixes are found in capitals, with a capital and without.
	anyCase
)

// prefixes returns the table of well-known credentials. Prefixes, characters
// and lengths are facts of the providers' documentation and of the rules of
// gitleaks (github.com/gitleaks/gitleaks, config/gitleaks.toml); lengths are
// lower where a longer run of the characters says enough.
func prefixes() []prefix {
	list := []prefix{
		{text: "-----BEGIN ", kind: "private-key", check: checkPEM},
		{text: "LS0tLS1CRUdJTi", kind: "private-key", check: checkEncodedPEM},
		{text: "eyJ", kind: "jwt", flags: bounded, check: checkJWT},
		{text: "bearer", kind: "bearer", flags: bounded | anyCase, check: checkBearer},
		{text: "basic", kind: "basic", flags: bounded | anyCase, check: checkBasic},
		{text: "--", kind: "flag", check: checkFlag},
		{text: "-u", kind: "login", check: checkLogin},
		{text: "password ", kind: "password", flags: bounded, check: checkNetrc},
		{text: "://", kind: "url", check: checkUserinfo},
		{text: ":AA", kind: "telegram", class: url64, min: 31, check: checkTelegram},
		{text: "Q~", kind: "azure", class: word | dash | dot, min: 30, check: checkAzure},
		{text: ".atlasv1.", kind: "hashicorp", class: url64 | equal, min: 60, flags: kept},
		{text: "hooks.slack.com/", kind: "slack", class: word | slash, min: 24, flags: kept},
		{text: "discord.com/api/webhooks/", kind: "discord", class: url64 | slash, min: 40, flags: kept},
		{text: "discordapp.com/api/webhooks/", kind: "discord", class: url64 | slash, min: 40, flags: kept},
		{text: "webhook.office.com/webhookb2/", kind: "microsoft", class: url64 | slash, min: 40, flags: kept},
		{text: "CLOJARS_", kind: "clojars", class: alnum, min: 50},
		{text: "AGE-SECRET-KEY-1", kind: "age", class: alnum, min: 50},
		{text: "sha256~", kind: "openshift", class: url64, min: 43},
		{text: "bedrock-api-key-", kind: "aws", class: std64 | equal, min: 24},
	}
	for _, kind := range []string{"AKIA", "ASIA", "ABIA", "ACCA"} {
		list = append(list, prefix{text: kind, kind: "aws", class: upper | digit, min: 16, flags: bounded | made | exact})
	}
	add := func(kind string, c class, least int, flags uint8, texts ...string) {
		for _, text := range texts {
			list = append(list, prefix{text: text, kind: kind, class: c, min: least, flags: flags})
		}
	}
	add("opencode", alnum, 28, bounded, "oc_")
	add("github", alnum, 30, 0, "ghp_", "gho_", "ghu_", "ghs_", "ghr_")
	add("github", word, 40, 0, "github_pat_")
	add("gitlab", url64|dot, 20, 0, "glpat-", "gldt-", "glrt-", "glft-", "glimt-", "glagent-", "gloas-", "glptt-", "glsoat-", "glffct-", "glcbt-", "GR1348941")
	add("anthropic", url64, 20, bounded, "sk-ant-")
	add("openrouter", url64, 20, bounded, "sk-or-")
	add("openai", url64, 20, bounded, "sk-")
	add("aws", std64|equal, 80, bounded, "ABSK")
	add("google", url64, 33, bounded, "AIza")
	add("google", url64, 20, 0, "GOCSPX-")
	add("google", url64|dot, 20, bounded, "ya29.")
	add("google", url64, 40, bounded, "1//0")
	add("slack", url64, 20, 0, "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.xox", "xoxc-", "xoxd-", "xapp-")
	add("stripe", alnum, 16, bounded, "sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_prod_", "rk_prod_")
	add("stripe", std64|equal, 24, bounded, "whsec_")
	add("twilio", alnum, 32, bounded|exact, "SK")
	add("sendgrid", url64|dot, 50, bounded, "SG.")
	add("mailgun", alnum, 32, bounded|exact, "key-")
	add("npm", alnum, 36, bounded, "npm_")
	add("pypi", url64, 40, 0, "pypi-AgE")
	add("rubygems", alnum, 40, 0, "rubygems_")
	add("crates", alnum, 32, bounded|exact, "cio")
	add("nuget", alnum, 43, bounded|exact, "oy2")
	add("docker", url64, 24, 0, "dckr_pat_", "dckr_oat_")
	add("digitalocean", alnum, 40, 0, "dop_v1_", "doo_v1_", "dor_v1_")
	add("heroku", url64, 40, 0, "HRKU-")
	add("hashicorp", url64, 24, bounded, "hvs.", "hvb.", "hvr.")
	add("databricks", alnum|dash, 32, bounded, "dapi")
	add("shopify", alnum, 30, 0, "shpat_", "shpca_", "shppa_", "shpss_")
	add("square", url64, 22, 0, "sq0atp-", "sq0csp-", "sq0idp-")
	add("square", url64, 56, bounded, "EAAA")
	add("facebook", alnum, 100, bounded, "EAA")
	add("atlassian", url64|equal, 40, bounded, "ATATT3", "ATCTT3", "ATBB")
	add("linear", alnum, 32, 0, "lin_api_", "lin_oauth_")
	add("notion", alnum, 40, bounded, "ntn_", "secret_")
	add("figma", url64, 36, bounded, "figd_")
	add("airtable", alnum|dot, 60, bounded, "pat")
	add("harness", url64|dot, 60, bounded, "pat.", "sat.")
	add("postman", alnum|dash, 50, 0, "PMAK-")
	add("newrelic", alnum, 24, bounded|made, "NRAK-", "NRII-", "NRRA-", "NRJS-")
	add("sentry", std64|equal|word, 40, 0, "sntrys_", "sntryu_", "sntrya_")
	add("grafana", std64|equal|word, 32, 0, "glsa_", "glc_")
	add("planetscale", url64|equal|dot, 32, 0, "pscale_tkn_", "pscale_pw_", "pscale_oauth_")
	add("supabase", url64, 30, bounded, "sbp_", "sb_secret_")
	add("vercel", alnum, 24, bounded, "vcp_", "vci_", "vca_", "vcr_", "vck_")
	add("netlify", alnum, 36, bounded, "nfp_")
	add("fly", std64|equal|url64, 40, bounded, "fo1_", "fm1_", "fm1a_", "fm1r_", "fm2_")
	add("cloudflare", alnum|dash, 100, bounded, "v1.0-")
	add("huggingface", alnum, 34, bounded|exact, "hf_", "api_org_")
	add("replicate", alnum, 36, bounded, "r8_")
	add("groq", alnum, 40, bounded, "gsk_")
	add("xai", alnum, 60, bounded, "xai-")
	add("perplexity", alnum, 40, bounded, "pplx-")
	add("fireworks", alnum, 20, bounded, "fw_")
	add("langsmith", word, 32, bounded, "lsv2_pt_", "lsv2_sk_", "ls__")
	add("pinecone", word, 40, bounded, "pcsk_")
	add("elevenlabs", alnum, 48, bounded, "sk_")
	add("cerebras", alnum, 40, bounded, "csk-")
	add("nvidia", url64, 40, bounded, "nvapi-")
	add("tavily", url64, 28, bounded, "tvly-")
	add("cursor", alnum, 60, bounded, "key_")
	add("doppler", alnum|dot, 40, bounded, "dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit.")
	add("prefect", alnum, 32, bounded, "pnu_", "pnb_")
	add("pulumi", alnum, 40, bounded, "pul-")
	add("readme", alnum, 60, bounded, "rdme_")
	add("brevo", alnum|dash, 64, 0, "xkeysib-", "xsmtpsib-")
	add("duffel", url64|equal, 40, 0, "duffel_test_", "duffel_live_")
	add("dynatrace", alnum|dot, 80, 0, "dt0c01.", "dt0s01.", "dt0s16.")
	add("easypost", alnum, 54, bounded|exact, "EZAK", "EZTK")
	add("flutterwave", alnum|dash, 12, 0, "FLWSECK_TEST-", "FLWSECK-")
	add("frameio", url64|equal, 60, bounded, "fio-u-")
	add("shippo", alnum, 40, 0, "shippo_live_", "shippo_test_")
	add("typeform", url64|dot|equal, 50, bounded, "tfp_")
	add("contentful", url64, 40, bounded, "CFPAT-")
	add("1password", std64|equal|url64, 100, bounded, "ops_eyJ")
	add("1password", alnum|dash, 30, bounded, "A3-")
	add("infracost", alnum, 32, bounded, "ico-")
	add("artifactory", alnum, 60, bounded, "AKCp", "cmVmd")
	add("tailscale", alnum|dash, 20, 0, "tskey-")
	add("buildkite", alnum, 40, bounded, "bkua_")
	add("circleci", word, 40, bounded, "CCIPAT_", "CCIPRJ_")
	add("sourcegraph", word, 40, bounded, "sgp_")
	add("adafruit", alnum, 28, bounded, "aio_")
	add("adobe", alnum, 32, bounded, "p8e-")
	add("alibaba", alnum, 16, bounded, "LTAI")
	add("intra42", alnum|dash, 60, bounded, "s-s4t2")
	add("octopus", upper|digit, 26, bounded|exact|made, "API-")
	add("settlemint", alnum, 16, bounded, "sm_aat_", "sm_pat_", "sm_sat_")
	add("scalingo", url64, 48, bounded, "tk-us-")
	add("clickhouse", alnum, 38, bounded|exact, "4b1d")
	add("posthog", alnum, 32, bounded, "phx_")
	add("resend", word, 24, bounded, "re_")
	add("clerk", alnum, 30, bounded, "ak_live_")
	return list
}

// spellings returns how the prefix may be written.
func (p prefix) spellings() []string {
	if p.flags&anyCase == 0 {
		return []string{p.text}
	}
	return []string{p.text, strings.ToUpper(p.text), strings.ToUpper(p.text[:1]) + p.text[1:]}
}

// match applies a rule at a place where its text stands.
func (p *prefix) match(l look, i int) verdict {
	if p.flags&bounded != 0 && !begins(l, i) {
		return verdict{}
	}
	if p.check != nil {
		return p.check(l, i, p)
	}
	v := p.token(l, i+len(p.text))
	if v.found && p.flags&kept == 0 {
		v.start = i
	}
	return v
}

// token finds what follows a prefix.
func (p *prefix) token(l look, i int) verdict {
	end, more, long := l.run(i, p.class, max(window, p.min))
	if more {
		return verdict{more: true}
	}
	if !long {
		for end > i && l.data[end-1] == '.' {
			end--
		}
	}
	body := l.data[i:end]
	if len(body) < p.min || p.flags&exact != 0 && len(body) > p.min || isExample(body) ||
		p.flags&made == 0 && isWords(body) {
		return verdict{}
	}
	v := verdict{found: true, start: i, end: end, kind: p.kind}
	if long {
		v.rest = rest{how: restRun, class: p.class}
	}
	return v
}

// begins reports whether a word begins at a place: also behind an escaped
// character, and behind the sequence that colours it.
func begins(l look, i int) bool {
	b := l.before(i)
	n := len(b)
	if n == 0 || classOf(b[n-1])&(word|dot) == 0 {
		return true
	}
	if b[n-1] == '.' {
		return n == 1 || classOf(b[n-2])&word == 0
	}
	if n >= 2 && b[n-2] == '\\' && bytes.IndexByte([]byte("nrt"), b[n-1]) >= 0 {
		return true
	}
	if n >= 3 && b[n-3] == '%' && isHex(b[n-2]) && isHex(b[n-1]) {
		return true
	}
	if classOf(b[n-1])&letters == 0 {
		return false
	}
	at := n - 2
	for at > 0 && n-at < 24 && (classOf(b[at])&digit != 0 || b[at] == ';' || b[at] == ':') {
		at--
	}
	return at > 0 && b[at] == '[' && bytes.IndexByte([]byte("\x1bbe3BE"), b[at-1]) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func checkPEM(l look, i int, p *prefix) verdict {
	at := i + len(p.text)
	part := l.data[at:min(len(l.data), at+64)]
	label, _, ok := bytes.Cut(part, []byte("-----"))
	if !ok {
		if bytes.IndexFunc(part, func(r rune) bool { return classOf(byte(r))&alnum == 0 && r != ' ' && r != '-' }) >= 0 { //nolint:gosec // G115: a wide rune is refused or becomes a letter, and both are harmless
			return verdict{}
		}
		return verdict{more: !l.end && len(part) < 64}
	}
	if !bytes.Contains(label, []byte("PRIVATE KEY")) {
		return verdict{}
	}
	// What only names the mark, such as a program that looks for it, has no key
	// behind it.
	body := at + len(label) + len("-----")
	head := l.data[body:min(len(l.data), body+96)]
	if len(head) < 96 && !l.end {
		return verdict{more: true}
	}
	if !keyFollows(head) {
		return verdict{}
	}
	return verdict{found: true, start: i, end: body, kind: p.kind, rest: rest{how: restPEM}}
}

// keyFollows reports whether a key may begin with a text.
func keyFollows(head []byte) bool {
	if len(head) > 0 && isQuote(head[0]) {
		// The text is over with the mark, unless another is put to it.
		head = bytes.TrimLeft(head[1:], " \t\r\n")
		if len(head) == 0 || bytes.IndexByte([]byte("+.,\"'"), head[0]) < 0 {
			return false
		}
	}
	head = bytes.TrimLeft(head, " \\nrt\r\n\t+|>#*/\"',")
	if bytes.HasPrefix(head, []byte("Proc-Type")) || bytes.HasPrefix(head, []byte("Version")) || bytes.HasPrefix(head, []byte("Comment")) {
		return true
	}
	n := 0
	for n < len(head) && classOf(head[n])&(std64|equal) != 0 {
		n++
	}
	return n >= 20 && !isWords(head[:n]) && !isExample(head[:n])
}

func checkEncodedPEM(l look, i int, p *prefix) verdict {
	end, more, long := l.run(i, std64|equal, window)
	if more {
		return verdict{more: true}
	}
	text := decode64(l.data[i:end])
	if !bytes.Contains(text, []byte("PRIVATE KEY")) {
		return verdict{}
	}
	v := verdict{found: true, start: i, end: end, kind: p.kind}
	if long {
		v.rest = rest{how: restRun, class: std64 | equal}
	}
	return v
}

// decode64 decodes the start of a text in either form of base 64, as far as it
// is whole.
func decode64(b []byte) []byte {
	text := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(string(b))
	if len(text)%4 == 1 {
		text = text[:len(text)-1]
	}
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return out
}

func checkJWT(l look, i int, p *prefix) verdict {
	end, more, long := l.run(i, url64, window)
	if more {
		return verdict{more: true}
	}
	header := decode64(l.data[i:end])
	named := false
	for _, member := range []string{`"alg"`, `"enc"`, `"typ"`, `"kid"`, `"jku"`} {
		named = named || bytes.Contains(header, []byte(member))
	}
	if !named {
		return verdict{}
	}
	if !long {
		next, more, _ := l.run(end, url64|dot, 96)
		if more {
			return verdict{more: true}
		}
		if next-end < 12 || l.data[end] != '.' {
			return verdict{}
		}
		claims, _, _ := bytes.Cut(l.data[end+1:next], []byte("."))
		if text := decode64(claims); bytes.Contains(text, []byte(`"1234567890"`)) || bytes.Contains(text, []byte(`"example`)) {
			return verdict{} // the example of every documentation
		}
	}
	return verdict{found: true, start: i, end: end, kind: p.kind, rest: rest{how: restRun, class: url64 | dot}}
}

// checkBearer finds the token behind the word.
func checkBearer(l look, i int, p *prefix) verdict {
	at := i + len(p.text)
	start := at
	for start < len(l.data) && start < at+4 && bytes.IndexByte([]byte(" %20+"), l.data[start]) >= 0 {
		start++
	}
	if start >= len(l.data) {
		return verdict{more: !l.end}
	}
	if start == at {
		return verdict{}
	}
	return (&prefix{kind: p.kind, class: anyToken, min: 16}).token(l, start)
}

// checkBasic finds the name and the password behind the word.
func checkBasic(l look, i int, p *prefix) verdict {
	at := i + len(p.text)
	if at >= len(l.data) {
		return verdict{more: !l.end}
	}
	if l.data[at] != ' ' {
		return verdict{}
	}
	end, more, long := l.run(at+1, std64|equal, window)
	if more {
		return verdict{more: true}
	}
	if !isLogin(l.data[at+1 : end]) {
		return verdict{}
	}
	v := verdict{found: true, start: at + 1, end: end, kind: p.kind}
	if long {
		v.rest = rest{how: restRun, class: std64 | equal}
	}
	return v
}

// isLogin reports whether a text is a name and a password in base 64.
func isLogin(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	text := decode64(b)
	name, password, ok := bytes.Cut(text, []byte(":"))
	if !ok || len(name)+len(password) < 5 || !utf8.Valid(text) || isPlaceholder(string(password)) && len(password) > 0 {
		return false
	}
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// checkTelegram finds the token of a bot: its number, and 35 characters behind
// a colon. The number is no secret.
func checkTelegram(l look, i int, p *prefix) verdict {
	b := l.before(i)
	n := 0
	for n < len(b) && classOf(b[len(b)-1-n])&digit != 0 {
		n++
	}
	if n < 6 || n > 12 {
		return verdict{}
	}
	return p.token(l, i+1)
}

// checkAzure finds a client secret of Azure, which has the mark in its middle:
// three characters and a digit before it.
func checkAzure(l look, i int, p *prefix) verdict {
	b := l.before(i)
	if len(b) < 4 || classOf(b[len(b)-1])&digit == 0 {
		return verdict{}
	}
	for _, c := range b[len(b)-4:] {
		if classOf(c)&(word|dash|dot) == 0 && c != '~' {
			return verdict{}
		}
	}
	start := i + len(p.text)
	end := start
	for end < len(l.data) && end-start < window && (classOf(l.data[end])&p.class != 0 || l.data[end] == '~') {
		end++
	}
	if end >= len(l.data) && end-start < window && !l.end {
		return verdict{more: true}
	}
	if n := end - start; n < p.min || n > 40 || isExample(l.data[start:end]) {
		return verdict{}
	}
	return verdict{found: true, start: start, end: end, kind: p.kind}
}

// longest is the length of the pieces in which a known value is looked for. A
// longer one is several, each of which goes.
const longest = 1 << 10

// spellings returns the values to look for, longest first: as they are, and as
// they stand in JSON, in URLs and in base 64.
func spellings(values []string) []string {
	var list []string
	for _, value := range values {
		if len(value) < MinKnown {
			continue
		}
		quoted := strconv.Quote(value)
		for _, text := range []string{
			value, quoted[1 : len(quoted)-1], url.QueryEscape(value), url.PathEscape(value),
			strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "="),
			strings.TrimRight(base64.URLEncoding.EncodeToString([]byte(value)), "="),
		} {
			for len(text) > longest {
				list = append(list, text[:longest])
				text = text[longest:]
			}
			if len(text) >= MinKnown {
				list = append(list, text)
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(list)
}
