"""Pictures of graphs and of results; reads graphs, changes none.

Import the module that draws what is wanted: `metro`, `dot`, `matrix` and `fan` write SVG and DOT with nothing but the
standard library and NumPy, `plots` draws results with matplotlib, `page` puts it all on one HTML page.
"""
