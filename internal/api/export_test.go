package api

// Confirmation is confirmation, for tests in api_test.
var Confirmation = confirmation

// RenderDocs returns the page of the OpenAPI document, with its Content-Security-Policy.
func RenderDocs() (html []byte, policy string, err error) {
	page, err := renderDocs()
	return page.html, page.policy, err
}

// Route is a route as tests see it.
type Route struct {
	Method, Path, Operation string
	Scopes                  []string
	ForEach                 bool
}

// Routes returns the table of routes.
func Routes() []Route {
	all := make([]Route, len(routes))
	for i, r := range routes {
		all[i] = Route{r.method, r.path, r.operation, r.access.scopes.Names(), r.access.forEach}
	}
	return all
}
