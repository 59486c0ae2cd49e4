"""The labelling config of a concept: what an annotator sees and may say, generated."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from sam3_agent.annotation.shapes import BOX, BRUSH, CLICK, IMAGE, OUTLINE, PICTURE
from sam3_agent.mining.labelme import AMBIGUOUS, nothing_here

COLOUR = "#38bdf8"
ROW = "display: flex; align-items: center; gap: 12px"  # two labels of the same name: what draws which stands before it


def labelling_config(concept: str) -> str:
    """Label Studio's XML for one concept.

    Click and box are tools without labels of their own: with one chosen, a click in the picture is enough. A label
    chosen for a tool that is only smart would leave no tool chosen, and every click without effect.
    """
    name = quoteattr(concept)
    return f"""<View>
  <Header value={quoteattr(f"Outline every {concept}: delete what is wrong, add what is missed, refine borders")}/>
  <Image name="{IMAGE}" value="${IMAGE}" zoom="true" zoomControl="true" rotateControl="false"/>
  <View style="{ROW}">
    <Header size="5" value="Polygon"/>
    <PolygonLabels name="{OUTLINE}" toName="{IMAGE}" strokeWidth="2" pointSize="small" opacity="0.25">
      <Label value={name} background="{COLOUR}"/>
    </PolygonLabels>
    <Header size="5" value="Brush"/>
    <BrushLabels name="{BRUSH}" toName="{IMAGE}" opacity="0.4" smart="false">
      <Label value={name} background="{COLOUR}"/>
    </BrushLabels>
  </View>
  <KeyPoint name="{CLICK}" toName="{IMAGE}" smart="true" smartOnly="true"/>
  <Rectangle name="{BOX}" toName="{IMAGE}" smart="true" smartOnly="true"/>
  <Choices name="{PICTURE}" toName="{IMAGE}" choice="single" showInLine="true">
    <Choice value={quoteattr(nothing_here(concept))}/>
    <Choice value="{AMBIGUOUS}"/>
  </Choices>
</View>"""


def instructions(concept: str) -> str:
    """The correction protocol, HTML, shown before labelling."""
    return (
        f"<ol><li><b>Delete</b> every outline that is not a {concept}.</li>"
        f"<li><b>Add</b> every {concept} that was missed: with Auto-Annotation on, choose the points or the box at the "
        "last button of the toolbar, click on it or draw a box around it, and accept (✓) what appears; or draw a "
        "polygon.</li>"
        f"<li><b>Refine</b> borders that are off by more than a few pixels. Each {concept} has one outline.</li>"
        f"<li>If there is none, delete all outlines and choose <b>{nothing_here(concept)}</b>.</li>"
        f"<li>If you cannot tell what something is, choose <b>{AMBIGUOUS}</b>: the picture is left out of training.</li>"
        "</ol><p>Submit also when nothing had to be changed: that, too, is an answer.</p>"
    )
