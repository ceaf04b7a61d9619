"""The web console: pages for laboratories, haematologists and administrators.

Rendered here, with no request to another host; what scripts there are only spare reloads. A page
asks the same domain functions as the routes of the API.
"""
