// Vcsim is a vCenter for tests: govmomi's simulator over TLS, and beside it a Unix socket for its administrator.
//
// What a real vCenter does and this simulator does not is added here: it lists in pages, it hides properties for want
// of rights, and it can fail at a chosen call. The socket speaks the same SOAP at /sdk, from whatever network the
// simulator is in, and takes orders besides:
//
//	/habeat/set?type=T&id=I&property=P&value=V  set a property of an object, by force
//	/habeat/hide?type=T&id=I&property=P         hide a property of an object for want of the right System.Read
//	/habeat/before?text=T&does=D                at requests that contain a text `exit`, `hang`, `freeze` (all of it),
//	                                            `expire` (end the session, then go on), or answer with the fault of
//	                                            that name
//	/habeat/reset                               take back what was hidden and what was ordered
//	/habeat/calls                               tell (and forget) which methods were called through the network
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

var (
	listen   = flag.String("listen", "127.0.0.1:0", "address and port of the network side; port 0 chooses one")
	admin    = flag.String("admin", "admin.sock", "Unix socket for the administrator")
	cert     = flag.String("cert", "cert.pem", "certificate of the network side")
	key      = flag.String("key", "key.pem", "its key")
	user     = flag.String("user", "habeat@vsphere.local", "user name")
	password = flag.String("password", "", "password")
	page     = flag.Int("page", 3, "objects in one page of a listing")
	machines = flag.Int("machines", 2, "virtual machines in each resource pool")
	esx      = flag.Bool("esx", false, "be an ESXi host instead of a vCenter")
)

var orders struct {
	sync.Mutex
	hidden map[property]bool
	before map[string]string
	calls  []string
}

type property struct {
	object types.ManagedObjectReference
	path   string
}

func main() {
	flag.Parse()
	log.SetOutput(io.Discard)
	reset(nil, nil)
	model := simulator.VPX()
	model.Datacenter = 2
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = *machines
	must(model.Create())
	defer model.Remove()
	service := model.Service
	service.Listen = &url.URL{User: url.UserPassword(*user, *password)}
	service.RegisterSDK(simulator.Map)
	pages := new(collector)
	pages.Self = content().PropertyCollector
	simulator.Map.Put(pages)

	orderly, err := net.Listen("unix", *admin)
	must(err)
	go func() { must(http.Serve(orderly, administration(service))) }()
	network, err := net.Listen("tcp", *listen)
	must(err)
	go func() { must(http.ServeTLS(network, outside(service), *cert, *key)) }()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	fmt.Printf("listening at %s\n", network.Addr())
	<-stop
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func content() types.ServiceContent {
	return simulator.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content
}

// administration is what the Unix socket serves.
func administration(service *simulator.Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/sdk", service.ServeMux)
	mux.HandleFunc("/habeat/set", func(w http.ResponseWriter, r *http.Request) {
		object := simulator.Map.Get(named(r).object)
		change := types.PropertyChange{Name: named(r).path, Val: r.FormValue("value")}
		simulator.Map.WithLock(object, func() { simulator.Map.Update(object, []types.PropertyChange{change}) })
	})
	mux.HandleFunc("/habeat/hide", func(w http.ResponseWriter, r *http.Request) {
		orders.Lock()
		defer orders.Unlock()
		orders.hidden[named(r)] = true
	})
	mux.HandleFunc("/habeat/before", func(w http.ResponseWriter, r *http.Request) {
		orders.Lock()
		defer orders.Unlock()
		orders.before[r.FormValue("text")] = r.FormValue("does")
	})
	mux.HandleFunc("/habeat/reset", reset)
	mux.HandleFunc("/habeat/calls", func(w http.ResponseWriter, r *http.Request) {
		orders.Lock()
		defer orders.Unlock()
		fmt.Fprint(w, strings.Join(orders.calls, " "))
		orders.calls = nil
	})
	return mux
}

func named(r *http.Request) property {
	return property{types.ManagedObjectReference{Type: r.FormValue("type"), Value: r.FormValue("id")}, r.FormValue("property")}
}

func reset(http.ResponseWriter, *http.Request) {
	orders.Lock()
	defer orders.Unlock()
	orders.hidden = map[property]bool{}
	orders.before = map[string]string{}
}

var method = regexp.MustCompile(`Body>\s*<(\w+)`)

// outside is what the network side serves: the simulator, and the failures that were ordered.
func outside(service *simulator.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		name := "?"
		if found := method.FindSubmatch(body); found != nil {
			name = string(found[1])
		}
		does := ""
		orders.Lock()
		orders.calls = append(orders.calls, name)
		for text, ordered := range orders.before {
			if bytes.Contains(body, []byte(text)) {
				does = ordered
			}
		}
		orders.Unlock()
		switch does {
		case "":
		case "exit":
			os.Exit(1)
		case "freeze":
			must(syscall.Kill(os.Getpid(), syscall.SIGSTOP))
		case "hang":
			<-r.Context().Done()
			return
		case "expire":
			expire(service, r)
		default:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, fault, html.EscapeString(string(body)), does, does)
			return
		}
		service.ServeMux.ServeHTTP(w, r)
	})
}

// fault is how vCenter says that a method failed; like a careless server, it repeats what it was asked.
const fault = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring>
<detail><%sFault xmlns="urn:vim25" xsi:type="%s"/></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`

func expire(service *simulator.Service, r *http.Request) {
	if cookie, err := r.Cookie(soap.SessionCookieName); err == nil {
		request := types.TerminateSession{This: *content().SessionManager, SessionId: []string{cookie.Value}}
		_, _ = methods.TerminateSession(context.Background(), service, &request)
	}
}

// collector is the simulator's property collector with pages and rights; every session has its own.
type collector struct {
	simulator.PropertyCollector
	rest []types.ObjectContent
}

// RetrievePropertiesEx begins a listing.
func (c *collector) RetrievePropertiesEx(ctx *simulator.Context, r *types.RetrievePropertiesEx) soap.HasFault {
	answer := c.PropertyCollector.RetrievePropertiesEx(ctx, r)
	if body, ok := answer.(*methods.RetrievePropertiesExBody); ok && body.Res != nil && body.Res.Returnval != nil {
		c.rest = body.Res.Returnval.Objects
		body.Res.Returnval = c.next()
	}
	return answer
}

// ContinueRetrievePropertiesEx goes on with it.
func (c *collector) ContinueRetrievePropertiesEx(*types.ContinueRetrievePropertiesEx) soap.HasFault {
	return &methods.ContinueRetrievePropertiesExBody{
		Res: &types.ContinueRetrievePropertiesExResponse{Returnval: *c.next()},
	}
}

func (c *collector) next() *types.RetrieveResult {
	result := &types.RetrieveResult{Objects: c.rest}
	if len(c.rest) > *page {
		result.Token, result.Objects = "more", c.rest[:*page]
	}
	c.rest = c.rest[len(result.Objects):]
	for i := range result.Objects {
		hide(&result.Objects[i])
	}
	return result
}

func hide(object *types.ObjectContent) {
	orders.Lock()
	defer orders.Unlock()
	shown := []types.DynamicProperty{}
	for _, p := range object.PropSet {
		if !orders.hidden[property{object.Obj, p.Name}] {
			shown = append(shown, p)
			continue
		}
		denied := types.NoPermission{Object: object.Obj, PrivilegeId: "System.Read"}
		missing := types.MissingProperty{Path: p.Name, Fault: types.LocalizedMethodFault{Fault: &denied}}
		object.MissingSet = append(object.MissingSet, missing)
	}
	object.PropSet = shown
}
